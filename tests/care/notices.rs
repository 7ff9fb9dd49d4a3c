//! contrib/notices, each tried with the real curl against a server of ours, or with a sendmail of ours.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::common::{Machine, today};
use crate::contrib;

/// What a client asked for.
struct Request {
    line: String,
    headers: Vec<String>,
    body: String,
    /// All command lines of the machine while the client waited.
    command_lines: String,
}

fn command_lines() -> String {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    String::from_utf8_lossy(&processes.filter_map(line).flatten().collect::<Vec<u8>>()).into_owned()
}

/// Answers every request with `status`; its address and what it was asked.
fn server(status: &'static str) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.trim_end() {
                    "" => break,
                    line => lines.push(line.to_owned()),
                }
            }
            let length = lines.iter().find_map(|l| l.strip_prefix("Content-Length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let command_lines = command_lines();
            write!(reader.into_inner(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            let (line, body) = (lines.remove(0), String::from_utf8(body).unwrap());
            let _ = send.send(Request { line, headers: lines, body, command_lines });
        }
    });
    (address, receive)
}

fn machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("da\"ta/x", "content");
    machine.list(&["da\"ta"]);
    machine
}

fn hook(machine: &mut Machine, key: &str, sample: &str, argument: &str) {
    machine.set(key, json!([contrib(&format!("notices/{sample}")), argument]));
}

/// A file of a secret.
fn secret(machine: &Machine, text: String) -> String {
    machine.write("secret", text);
    std::fs::set_permissions(machine.path("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    machine.path("secret").to_str().unwrap().to_owned()
}

#[test]
fn healthchecks_is_pinged_with_exit_code_and_result() {
    let (address, asked) = server("200 OK");
    let mut machine = machine();
    let file = secret(&machine, format!("{address}/5f-uuid\n"));
    hook(&mut machine, "on_success", "healthchecks", &file);
    hook(&mut machine, "on_failure", "healthchecks", &file);
    let ran = machine.run(["create"]).succeeds();
    assert!(!ran.stderr().contains("warning"), "{}", ran.stderr());
    let request = asked.recv().unwrap();
    assert_eq!(request.line, "POST /5f-uuid/0 HTTP/1.1");
    assert!(request.command_lines.contains("curl") && !request.command_lines.contains("5f-uuid"));
    let result: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!((&result["outcome"], &result["archive"]), (&json!("made"), &json!(today())));
    machine.run(["create"]).exits(1);
    let request = asked.recv().unwrap();
    assert_eq!(request.line, "POST /5f-uuid/1 HTTP/1.1");
    assert!(serde_json::from_str::<Value>(&request.body).unwrap()["error"].is_string());
}

#[test]
fn ntfy_gets_a_title_the_error_and_the_token() {
    let (address, asked) = server("200 OK");
    let mut machine = machine();
    let options = format!("url = \"{address}/topic\"\nheader = \"Authorization: Bearer tk_sesame\"\n");
    let file = secret(&machine, options);
    hook(&mut machine, "on_failure", "ntfy", &file);
    machine.list(&["da\"ta", "no\"where"]);
    let ran = machine.run(["create"]).exits(1);
    assert!(!ran.stderr().contains("warning"), "{}", ran.stderr());
    let request = asked.recv().unwrap();
    assert_eq!(request.line, "POST /topic HTTP/1.1");
    let has = |header: &str| assert!(request.headers.iter().any(|h| h == header), "{:?}", request.headers);
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    has(&format!("Title: Backup of {host}: failed (exit code 1)"));
    has("Priority: high");
    has("Authorization: Bearer tk_sesame");
    assert!(request.body.starts_with(&format!("{} in ", today())), "{}", request.body);
    assert!(request.command_lines.contains("curl") && !request.command_lines.contains("tk_sesame"));
    // The escapes of JSON stand as they are.
    assert!(request.body.contains("no\\\"where: No such file"), "{}", request.body);
}

#[test]
fn mail_goes_through_sendmail() {
    let mut machine = machine();
    let inbox = machine.path("inbox");
    let bin = machine.script("sendmail", &format!("{{ echo \"$@\"; cat; }} > {}", inbox.display()));
    hook(&mut machine, "on_success", "mail", "me@example.org");
    let said = machine.offsite(["create"]).search_first(bin).ok().stderr();
    assert!(!said.contains("warning"), "{said}");
    let mail = std::fs::read_to_string(inbox).unwrap();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let head = format!(
        "-t\nTo: me@example.org\nSubject: Backup of {host}: made (exit code 0)\nAuto-Submitted: auto-generated\n"
    );
    assert!(mail.starts_with(&head), "{mail}");
    assert!(mail.contains(&format!("\n\n{} in {}\n", today(), machine.repository().display())), "{mail}");
}

#[test]
fn a_server_that_refuses_is_warned_about_and_changes_nothing() {
    let (address, _asked) = server("404 Not Found");
    let mut machine = machine();
    let file = secret(&machine, format!("{address}/5f-uuid\n"));
    hook(&mut machine, "on_success", "healthchecks", &file);
    let ran = machine.run(["create"]).succeeds();
    assert!(ran.stderr().contains("warning: on_success failed:"), "{}", ran.stderr());
    assert!(!ran.stderr().contains("5f-uuid"), "the address is a secret: {}", ran.stderr());
    assert_eq!(machine.archives(), [today()]);
}
