//! Suggests packages for missing programs, by distribution.

/// Distributions whose packages are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Debian,
    Fedora,
    QubesDom0,
    Other,
}

/// Programs, and their packages in Debian and Fedora.
const PACKAGES: [(&[&str], &str, &str); 8] = [
    (&["borg"], "borgbackup", "borgbackup"),
    (&["fusermount3"], "fuse3", "fuse3"),
    (&["ssh"], "openssh-client", "openssh-clients"),
    (&["mount"], "mount", "util-linux"),
    (&["blkid", "partx", "losetup", "setpriv"], "util-linux", "util-linux"),
    (&["tar"], "tar", "tar"),
    (&["curl"], "curl", "curl"),
    (&["udevadm"], "udev", "systemd-udev"),
];

/// What to do about a missing `program`.
pub fn hint(program: &str) -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    hint_on(System::of(&release), program)
}

impl System {
    /// From the text of os-release(5).
    fn of(release: &str) -> System {
        let field = |name: &str| {
            let lines = release.lines();
            lines
                .filter_map(|l| l.strip_prefix(name)?.strip_prefix('='))
                .next()
                .unwrap_or_default()
                .trim_matches('"')
        };
        let mut names = field("ID").split_whitespace().chain(field("ID_LIKE").split_whitespace());
        let system = |name| match name {
            "debian" | "ubuntu" => Some(System::Debian),
            "qubes" => Some(System::QubesDom0),
            "fedora" | "rhel" | "centos" => Some(System::Fedora),
            _ => None,
        };
        names.find_map(system).unwrap_or(System::Other)
    }

    fn install(self, debian: &str, fedora: &str) -> String {
        match self {
            System::Debian => format!("apt install {debian}"),
            System::Fedora => format!("dnf install {fedora}"),
            System::QubesDom0 => format!("qubes-dom0-update {fedora}"),
            System::Other => format!("Debian: apt install {debian}; Fedora: dnf install {fedora}"),
        }
    }
}

fn hint_on(system: System, program: &str) -> String {
    match (program, system) {
        ("zfs" | "zpool", System::Debian) => {
            "apt install zfsutils-linux (on Debian it is in `contrib`)".into()
        }
        ("zfs" | "zpool", _) => {
            "install ZFS: https://openzfs.github.io/openzfs-docs/Getting%20Started has packages for it".into()
        }
        _ if program.starts_with("qvm-") => {
            format!("{program} belongs to dom0 of Qubes OS; elsewhere leave `bridge_vm` out")
        }
        _ => match PACKAGES.iter().find(|(programs, ..)| programs.contains(&program)) {
            Some((_, debian, fedora)) => system.install(debian, fedora),
            None => format!("install {program}, or see that PATH leads to it"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_fits_the_program_and_the_distribution() {
        let debian = System::of("PRETTY_NAME=\"Debian\"\nID=debian\n");
        let mint = System::of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n");
        let fedora = System::of("VERSION_ID=41\nID=fedora\n");
        let dom0 = System::of("ID=qubes\nID_LIKE=\"rhel fedora\"\n");
        let other = System::of("");
        assert_eq!((debian, mint, other), (System::Debian, System::Debian, System::Other));
        for (system, program, message) in [
            (debian, "borg", "apt install borgbackup"),
            (fedora, "borg", "dnf install borgbackup"),
            (dom0, "fusermount3", "qubes-dom0-update fuse3"),
            (fedora, "ssh", "dnf install openssh-clients"),
            (other, "borg", "Debian: apt install borgbackup; Fedora: dnf install borgbackup"),
            (debian, "my-dump", "install my-dump, or see that PATH leads to it"),
        ] {
            assert_eq!(hint_on(system, program), message);
        }
        for system in [debian, fedora, dom0, other] {
            let zfs = hint_on(system, "zfs");
            assert!(!zfs.contains("borg") && (zfs.contains("contrib") || zfs.contains("openzfs")), "{zfs}");
            assert!(hint_on(system, "qvm-run").contains("dom0"));
        }
    }
}
