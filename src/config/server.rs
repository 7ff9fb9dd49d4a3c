//! The address of the server in the configuration.

use std::net::Ipv6Addr;

/// The syntax that the message about a wrong address shows.
pub const SYNTAX: &str = "\"host\", \"host:port\", \"2001:db8::1\" or \"[2001:db8::1]:port\"";

/// Converts `text` to the form of an `ssh://` address, with an IPv6 address in brackets. `Err` says
/// what is wrong.
pub fn normal(text: &str) -> Result<String, String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]"));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
        if address.contains('%') {
            return Err("borg takes no zone (`%…`); name the host in ~/.ssh/config instead".into());
        }
        let address = address.parse::<Ipv6Addr>().map(|_| address);
        let address = address.map_err(|_| "only an IPv6 address stands in brackets")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok(format!("[{address}]:{}", number(port)?)),
            None if rest.is_empty() => Ok(format!("[{address}]")),
            None => Err("after the bracket comes `:` and a port, or nothing".into()),
        };
    }
    let Some((host, port)) = text.split_once(':') else { return Ok(text.to_owned()) };
    match port {
        _ if text.contains('%') => {
            Err("borg takes no zone (`%…`); name the host in ~/.ssh/config instead".into())
        }
        _ if port.contains(':') => Err("this is no IPv6 address".into()),
        _ if host.is_empty() => Err("there is no host before the port".into()),
        port => Ok(format!("{host}:{}", number(port)?)),
    }
}

/// The host, without brackets, and the port of an address from [`normal`].
pub fn split(server: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = server.strip_prefix('[').and_then(|s| s.split_once(']')) {
        return (address, rest.strip_prefix(':'));
    }
    match server.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (server, None),
    }
}

fn number(port: &str) -> Result<u16, String> {
    if port.is_empty() {
        return Err("there is no port after the colon".into());
    }
    let number = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten();
    number.filter(|n| *n > 0).ok_or_else(|| format!("a port is a number from 1 to 65535, and not {port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_an_address_is_taken_apart_rightly() {
        for (text, expected, host, port) in [
            ("milena", "milena", "milena", None),
            ("milena:2222", "milena:2222", "milena", Some("2222")),
            ("milena:022", "milena:22", "milena", Some("22")),
            ("10.0.0.1:1", "10.0.0.1:1", "10.0.0.1", Some("1")),
            ("::1", "[::1]", "::1", None),
            ("2001:db8::1", "[2001:db8::1]", "2001:db8::1", None),
            ("::ffff:10.0.0.1", "[::ffff:10.0.0.1]", "::ffff:10.0.0.1", None),
            ("[2001:db8::1]", "[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535", "2001:db8::1", Some("65535")),
        ] {
            assert_eq!(normal(text).as_deref(), Ok(expected));
            assert_eq!(split(expected), (host, port));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "host:",
            "host:0",
            "host:65536",
            "host:99999",
            "host:x",
            "host:+22",
            "host:2222:2",
            ":22",
            "[::1",
            "[::1]:",
            "[::1]x",
            "[::1]:70000",
            "[milena]",
            "[]",
            "2001:db8:::1",
            "fe80::1%eth0",
            "[fe80::1%eth0]",
        ] {
            assert!(normal(text).is_err(), "{text}");
        }
    }
}
