//! A machine that is its own backup server.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::Machine;
use crate::common::program::Program;
use crate::common::repository::Flavour;
use crate::common::wait::wait_until;

/// The account on the server.
pub const ACCOUNT: &str = "machine";

pub(super) struct Server {
    sshd: Option<Child>,
    port: u16,
}

impl Machine {
    /// One that is a backup server as well, see [`Builder::server`](super::Builder::server).
    pub fn with_server(flavour: Flavour) -> Self {
        Machine::builder(flavour).unattended().on_disk(std::env::temp_dir()).server().build()
    }

    /// Sets up the accounts, the server and sshd, and is configured for them.
    pub(super) fn become_server(&mut self) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.shell(OWN_SYSTEM).arg("sh").arg(self.path("etc")).ok();
        self.shell(&BOB.replace("PORT", &port.to_string())).ok();
        self.add_account(&["/home/bob/.ssh/its key.pub"]).ok();
        self.server = Some(Server { sshd: None, port });
        self.start_sshd();
        self.configure(json!({
            "backup_server": "milena", "backup_user": ACCOUNT, "backup_path": "backup", "ssh_from": "bob",
            "filesystems_to_backup": [self.source()],
        }));
    }

    /// The set-up script, as docs/server.md says, for the account.
    pub fn add_account(&self, options_and_key: &[&str]) -> Program {
        let (key, options) = options_and_key.split_last().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/server/add-backup-account");
        self.program(script).args(options).arg(ACCOUNT).arg(key)
    }

    pub fn start_sshd(&mut self) {
        let port = self.port();
        let sshd = ["/usr/sbin/sshd", "-D", "-E", "/run/sshd.log", "-f", "/etc/ssh/sshd_lab"];
        let sshd = self.program("setpriv").args(["--pdeathsig", "KILL"]).args(sshd);
        let process = sshd.arg(format!("-oPort={port}")).spawn();
        self.server = Some(Server { sshd: Some(process), port });
        let answers = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(wait_until(Duration::from_secs(10), answers), "{}", self.sshd_log());
    }

    /// Ends sshd and its sessions; the server is then as good as off.
    pub fn stop_sshd(&mut self) {
        if let Some(mut sshd) = self.server.as_mut().and_then(|server| server.sshd.take()) {
            let _ = sshd.kill();
            let _ = sshd.wait();
            self.cut();
        }
    }

    /// Kills the sessions, as if the line were cut; sshd goes on.
    pub fn cut(&self) {
        let sshd = self.server.as_ref().and_then(|server| server.sshd.as_ref());
        let listener = sshd.map_or(0, Child::id);
        for pid in processes("sshd: ").into_iter().filter(|pid| *pid != listener) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }

    /// How many sessions sshd has.
    pub fn sessions(&self) -> usize {
        processes("sshd: ").len().saturating_sub(1)
    }

    /// How many processes of this machine have `word` on their command lines.
    pub fn count(&self, word: &str) -> usize {
        processes(word).len()
    }

    pub fn sshd_log(&self) -> String {
        std::fs::read_to_string("/run/sshd.log").unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.server.as_ref().expect("it is a server").port
    }

    /// `ssh ARGUMENTS`, by bob.
    pub fn ssh(&self, arguments: &[&str]) -> Program {
        self.program("runuser").args(["-u", "bob", "--", "ssh", "-o", "BatchMode=yes"]).args(arguments)
    }
}

/// The processes with the calling thread's mounts whose command line has `word` in it.
fn processes(word: &str) -> Vec<u32> {
    let namespace = |process: &Path| std::fs::read_link(process.join("ns/mnt")).ok();
    let ours = namespace(Path::new("/proc/thread-self"));
    let is_wanted = |process: &Path| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word) && namespace(process) == ours
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let processes = entries.filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path())));
    processes.filter(|(_, process)| is_wanted(process)).map(|(pid, _)| pid).collect()
}

/// Lets accounts, programs and repositories be made that nobody else sees.
const OWN_SYSTEM: &str = r#"
cp -a /etc "$1"
mount --bind "$1" /etc
for dir in /var/backups /usr/local/bin /home; do mount -t tmpfs -o mode=755 tmpfs $dir; done
mkdir /run/sshd
useradd --create-home --shell /bin/sh --password '*' bob
"#;

/// What bob has: a key whose name has a space, and a server that he knows.
const BOB: &str = r#"
cd /home/bob
mkdir -m 700 .ssh
ssh-keygen -q -t ed25519 -N '' -C bob@client -f '.ssh/its key'
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab_host_key
cat > .ssh/config <<END
Host milena
    HostName 127.0.0.1
    Port PORT
    HostKeyAlias milena
    IdentityFile "~/.ssh/its key"
    IdentitiesOnly yes
END
echo "milena $(cut -d' ' -f1,2 /etc/ssh/lab_host_key.pub)" > .ssh/known_hosts
cp '.ssh/its key.pub' .ssh/authorized_keys
chown -R bob:bob .ssh
cat > /etc/ssh/sshd_lab <<END
ListenAddress 127.0.0.1
HostKey /etc/ssh/lab_host_key
PidFile none
UsePAM no
PasswordAuthentication no
MaxStartups 100
X11Forwarding yes
Subsystem sftp internal-sftp
END
"#;
