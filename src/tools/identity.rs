//! The identity of this machine among those that use a repository.

use std::fs;

use ring::hmac;

use crate::archive::identity::Identity;
use crate::config::Config;

/// Where systemd, and D-Bus before it, keep the machine's id.
const FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// Our id for `systemd-id128 machine-id --app-specific=`: the machine's id itself must not be
/// shown.
const APPLICATION: u128 = 0x7c4e_19d3_52b8_4f0a_9d61_e83b_0f5a_c274;
/// The variable that borg 1.4 uses instead of the host's name.
const HOSTNAME: &str = "BORG_HOSTNAME";

/// Our identity with `config`.
pub fn of(config: &Config) -> Identity {
    Identity {
        machine: machine(),
        suffix: config.archive_suffix.clone(),
        hosts: hosts(),
        earlier: config.earlier_host_names.clone(),
    }
}

/// The name of this host as borg 1.4 writes it into an archive, if that differs.
pub fn host() -> String {
    hosts().pop().unwrap_or_default()
}

fn hosts() -> Vec<String> {
    let name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let named = std::env::var(HOSTNAME).ok().filter(|name| !name.is_empty());
    let short = name.split('.').next().unwrap_or_default().to_owned();
    [Some(name), Some(short), named].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

fn machine() -> Option<String> {
    FILES.iter().find_map(|file| application_specific(fs::read_to_string(file).ok()?.trim()))
}

/// Like sd_id128_get_machine_app_specific(3); `None` if it is not an id.
fn application_specific(id: &str) -> Option<String> {
    let number = u128::from_str_radix(id, 16).ok().filter(|number| *number != 0 && id.len() == 32)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &number.to_be_bytes());
    let tag = hmac::sign(&key, &APPLICATION.to_be_bytes());
    let mut bytes: [u8; 16] = tag.as_ref()[..16].try_into().ok()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_known_by_what_systemd_derives_from_its_id() {
        // systemd-id128 machine-id --app-specific=7c4e19d352b84f0a9d61e83b0f5ac274
        let derived = application_specific("3d1219c7c4c5404aaa1f6d2a48adfda4").unwrap();
        assert_eq!(derived, "b2091abc38c44fd29fb64212771c82ae");
        assert_ne!(application_specific("3d1219c7c4c5404aaa1f6d2a48adfda5").unwrap(), derived);
        for none in ["", "uninitialized", "00000000000000000000000000000000", "3d12"] {
            assert_eq!(application_specific(none), None, "{none}");
        }
    }
}
