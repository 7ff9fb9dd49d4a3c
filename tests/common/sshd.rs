//! A real sshd on the loopback, whose only account may do nothing but `borg serve` one repository.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::machine::Machine;
use super::mounted::descendants;
use super::wait::wait_until;

/// The server; it ends when this is dropped.
pub struct Sshd {
    process: Child,
    port: u16,
    dir: PathBuf,
    /// Servers that were sent a signal: those that were stopped do not end with their clients.
    signalled: Mutex<Vec<Pid>>,
}

impl Sshd {
    /// Starts it. Its forced command restricts the client to `repository`.
    pub fn start(machine: &Machine, repository: &Path) -> Self {
        let dir = machine.path("ssh");
        std::fs::create_dir(&dir).unwrap();
        // sshd wants its directory for privilege separation; a fresh machine has none before the
        // service first runs.
        let _ = std::fs::create_dir("/run/sshd");
        for key in ["host", "client", "stranger"] {
            let file = dir.join(key);
            machine.program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(file).ok();
        }
        let port = free_port();
        write_settings(machine, &dir, port, repository);
        let process = machine
            .program("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd_config"))
            .arg("-E")
            .arg(dir.join("log"))
            .spawn();
        let sshd = Sshd { process, port, dir, signalled: Mutex::default() };
        let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(wait_until(Duration::from_secs(10), answers), "sshd does not start: {}", sshd.log());
        sshd
    }

    /// From now on the machine reaches its repository through it.
    pub fn serve(&self, machine: &mut Machine) {
        machine.set("backup_user", user());
        machine.set("backup_server", self.address());
        machine.set_variable("BORG_RSH", self.rsh());
        // The repository was made by its path and is now used by its address.
        machine.set_variable("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// BORG_RSH for a client that knows the server and is known by it.
    pub fn rsh(&self) -> String {
        self.rsh_with("client", "known_hosts")
    }

    /// BORG_RSH for a client that knows another host key than the server's.
    pub fn rsh_with_wrong_host_key(&self) -> String {
        self.rsh_with("client", "wrong_known_hosts")
    }

    /// BORG_RSH for a client whose key the server does not take.
    pub fn rsh_of_a_stranger(&self) -> String {
        self.rsh_with("stranger", "known_hosts")
    }

    fn rsh_with(&self, key: &str, known_hosts: &str) -> String {
        let dir = self.dir.to_str().unwrap();
        format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
             -o 'UserKnownHostsFile=\"{dir}/{known_hosts}\"' -i '{dir}/{key}'"
        )
    }

    /// The servers that it runs for its clients.
    pub fn sessions(&self) -> Vec<Pid> {
        descendants(Pid::from_raw(self.process.id() as i32), "serve")
    }

    /// Sends `signal` to all of them; there must be one.
    pub fn signal_sessions(&self, signal: Signal) {
        let sessions = self.sessions();
        assert!(!sessions.is_empty(), "no session");
        for pid in sessions {
            kill(pid, signal).unwrap();
            self.signalled.lock().unwrap().push(pid);
        }
    }

    /// Sends `signal` to what lets clients in.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    /// What the clients asked to be run, a line each.
    pub fn commands(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.join("commands")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for pid in self.sessions().into_iter().chain(std::mem::take(self.signalled.get_mut().unwrap())) {
            let _ = kill(pid, Signal::SIGKILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The account that runs the tests.
fn user() -> String {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn write_settings(machine: &Machine, dir: &Path, port: u16, repository: &Path) {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(dir.join(name), text).unwrap();
        std::fs::set_permissions(dir.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    };
    let (borg, home) = (machine.flavour().dir().join("borg"), machine.path("home"));
    let quoted = |path: &Path| format!("'{}'", path.display());
    let command = format!(
        "printenv SSH_ORIGINAL_COMMAND >> {}; cd {}; BORG_BASE_DIR={} {} serve --restrict-to-repository {}",
        quoted(&dir.join("commands")),
        quoted(&home),
        quoted(&home),
        quoted(&borg),
        quoted(repository)
    );
    write("authorized_keys", format!("restrict,command=\"{command}\" {}", read("client.pub")));
    write("known_hosts", format!("[127.0.0.1]:{port} {}", read("host.pub")));
    write("wrong_known_hosts", format!("[127.0.0.1]:{port} {}", read("stranger.pub")));
    let d = dir.display();
    write(
        "sshd_config",
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey \"{d}/host\"\nPidFile none\n\
             AuthorizedKeysFile \"{d}/authorized_keys\"\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin forced-commands-only\n"
        ),
    );
}
