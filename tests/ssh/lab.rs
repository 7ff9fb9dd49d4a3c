//! Two machines in one: a mount namespace with accounts of its own, in which the backup server was
//! set up by its script, and an account `bob` whose ssh reaches it. Nothing outside is changed.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::mounted::wait_until;
use crate::common::{Flavour, Program, Sandbox, binary};

/// The account on the server.
pub const ACCOUNT: &str = "machine";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub struct Lab {
    pub sandbox: Sandbox,
    holder: Child,
    sshd: Option<Child>,
    port: u16,
}

impl Lab {
    /// A server that is set up for a key of bob's, with sshd running; bob's ssh calls it `milena`,
    /// and only his configuration knows what that is.
    pub fn new(flavour: Flavour) -> Lab {
        let sandbox = Sandbox::new(flavour);
        let holder = sandbox
            .program("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-eu",
                "-c",
                WORLD,
                "sh",
            ])
            .arg(sandbox.path("etc"))
            .spawn();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut lab = Lab { sandbox, holder, sshd: None, port };
        assert!(
            wait_until(Duration::from_secs(20), || lab.root("test -e /run/ready").run().code() == Some(0))
        );
        lab.root(&BOB.replace("PORT", &port.to_string())).ok();
        lab.add_account(&["/home/bob/.ssh/its key.pub"]).ok();
        lab.start_sshd();
        lab.configure("");
        lab
    }

    /// The set-up script, as docs/server.md says, for the account.
    pub fn add_account(&self, options_and_key: &[&str]) -> Program {
        let (key, options) = options_and_key.split_last().unwrap();
        self.inside(format!("{ROOT}/contrib/server/add-backup-account")).args(options).arg(ACCOUNT).arg(key)
    }

    pub fn start_sshd(&mut self) {
        let listens = format!("-oPort={}", self.port);
        let sshd = self.inside("setpriv").args([
            "--pdeathsig",
            "KILL",
            "/usr/sbin/sshd",
            "-D",
            "-E",
            "/run/sshd.log",
            "-f",
            "/etc/ssh/sshd_lab",
        ]);
        self.sshd = Some(sshd.arg(listens).spawn());
        let answers = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        assert!(wait_until(Duration::from_secs(10), answers), "{}", self.log());
    }

    /// Ends sshd and its sessions; the server is then as good as off.
    pub fn stop_sshd(&mut self) {
        if let Some(mut sshd) = self.sshd.take() {
            let _ = sshd.kill();
            let _ = sshd.wait();
            self.cut();
        }
    }

    /// Kills the sessions, as if the line were cut; sshd goes on.
    pub fn cut(&self) {
        let listener = self.sshd.as_ref().map_or(0, Child::id);
        for pid in processes(self.holder.id(), "sshd: ").into_iter().filter(|pid| *pid != listener) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        processes(self.holder.id(), "sshd: ").len().saturating_sub(1)
    }

    /// How many processes have `word` on their command lines.
    pub fn count(&self, word: &str) -> usize {
        processes(self.holder.id(), word).len()
    }

    pub fn log(&self) -> String {
        self.root("cat /run/sshd.log").run().stdout()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The configuration: the server's account by bob's ssh, and `members`.
    pub fn configure(&self, members: &str) {
        self.place(&format!(
            r#""backup_server": "milena", "backup_user": "{ACCOUNT}", "backup_path": "backup", "ssh_from": "bob",
            "filesystems_to_backup": [{:?}]{members}"#,
            self.sandbox.source()
        ));
    }

    /// The configuration, all of it.
    pub fn place(&self, members: &str) {
        std::fs::write(self.sandbox.config(), format!("{{{members}}}")).unwrap();
    }

    /// `program` in there, as root, with the environment of the sandbox.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Program {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        self.sandbox.program("nsenter").arg(namespace).arg("--").arg(program)
    }

    pub fn root(&self, script: &str) -> Program {
        self.inside("sh").args(["-eu", "-c", script])
    }

    /// `ssh ARGUMENTS milena COMMAND`, by bob.
    pub fn ssh(&self, arguments: &[&str]) -> Program {
        self.inside("runuser").args(["-u", "bob", "--", "ssh", "-o", "BatchMode=yes"]).args(arguments)
    }

    /// The program under test.
    pub fn offsite(&self, words: &[&str]) -> Program {
        self.inside(binary()).arg("--config").arg(self.sandbox.config()).args(words)
    }

    /// The server's directory of the repository, as it is seen from outside.
    pub fn on_server(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(path)
    }
}

/// The processes in the world of `holder` whose command line has `word` in it.
fn processes(holder: u32, word: &str) -> Vec<u32> {
    let world = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word) && world(*pid) == world(holder)
    })
    .collect()
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.inside("umount").args(["--lazy", "--quiet"]).arg(self.sandbox.mount_point()).run();
        self.stop_sshd();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Makes the world, and holds it.
const WORLD: &str = r#"
# Mounts of other tests would be kept alive by this world, and so the devices that are mounted.
umount -a -l -t fuse.borg-offsite-backup || :
awk '$1 ~ "^/dev/loop" { print $2 }' /proc/self/mounts | xargs -r umount -l || :
cp -a /etc "$1"
mount --bind "$1" /etc
for dir in /var/backups /usr/local/bin /home; do mount -t tmpfs -o mode=755 tmpfs $dir; done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd
useradd --create-home --shell /bin/sh --password '*' bob
touch /run/ready
exec sleep 3600
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
