//! Addresses of repositories on servers, as borg reads them.

/// A repository on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    user: Option<String>,
    /// In brackets if it is an IPv6 address.
    host: String,
    port: Option<u16>,
    /// As the server expects it: absolute, `/~/…` below the home directory, or `/./…` below the
    /// working directory.
    path: String,
}

impl Address {
    /// `ssh://[user@]host[:port]/path`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("ssh://")?;
        let (server, path) = rest.split_at(rest.find('/')?);
        let (user, server) = match server.split_once('@') {
            Some(("", _)) => return None,
            Some((user, server)) => (Some(user.to_owned()), server),
            None => (None, server),
        };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (server, None),
        };
        let named = !host.is_empty() && (host.starts_with('[') == host.contains(':'));
        named.then(|| Address { user, host: host.to_owned(), port, path: normal(path) })
    }

    /// `[user@]host:path`, as scp takes it: a path without a `/` at its beginning is relative to the
    /// home directory. `None` for anything else, such as a path with a `/` before its first colon.
    pub fn parse_scp(text: &str) -> Option<Self> {
        let (user, rest) = match text.split_once('@') {
            Some((user, rest)) if !user.is_empty() && !user.contains(['/', ':']) => (Some(user), rest),
            _ => (None, text),
        };
        let (host, path) = match rest.starts_with('[') {
            true => rest.split_at(rest.find(']')? + 1),
            false => rest.split_at(rest.find(':')?),
        };
        let path = path.strip_prefix(':').filter(|path| !path.is_empty())?;
        let path = match path.strip_prefix("~/") {
            Some(rest) => format!("/~/{rest}"),
            None if path.starts_with('/') => path.to_owned(),
            None => format!("/./{path}"),
        };
        let user = user.map(str::to_owned);
        let is_named = !host.is_empty() && !host.contains('/');
        is_named.then(|| Address { user, host: host.to_owned(), port: None, path: normal(&path) })
    }

    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// `host` or `host:port`.
    pub fn server(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// As borg writes it into its security database.
    pub fn canonical(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("ssh://{user}{}{}", self.server(), self.path)
    }

    /// The path that is sent to the server.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// An absolute path without `.`, `..` and doubled slashes, like Python's `normpath`. A leading
/// `/./` stays.
pub fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let start = match path {
        _ if path.starts_with("/./") => "/./",
        // In POSIX, two slashes at the beginning have a meaning of their own.
        _ if path.starts_with("//") && !path.starts_with("///") => "//",
        _ => "/",
    };
    format!("{start}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_as_borg_does() {
        let message = |text: &str| {
            let address = Address::parse(text).unwrap();
            (address.canonical(), address.path().to_owned())
        };
        let same = |text: &str, path: &str| assert_eq!(message(text), (text.to_owned(), path.to_owned()));
        same("ssh://host/srv/b", "/srv/b");
        same("ssh://me@host:2222/~/b", "/~/b");
        same("ssh://host/./b/c", "/./b/c");
        same("ssh://me@[::1]:22/b", "/b");
        same("ssh://[fe80::1]/b", "/b");
        assert_eq!(message("ssh://host/a//./b/../c/").1, "/a/c");
        assert_eq!(message("ssh://host/./a/../c").1, "/./c");
        assert_eq!(message("ssh://host//a//b").1, "//a/b");
        assert_eq!(message("ssh://host///a").1, "/a");
    }

    #[test]
    fn addresses_as_for_scp_are_taken_apart() {
        let canonical = |text: &str| Address::parse_scp(text).map(|address| address.canonical());
        for (text, expected) in [
            ("host:b", "ssh://host/./b"),
            ("me@host:/srv/b", "ssh://me@host/srv/b"),
            ("host:~/b/", "ssh://host/~/b"),
            ("me@[::1]:/b", "ssh://me@[::1]/b"),
            ("host:a@b", "ssh://host/./a@b"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["/srv/a:b", "./a:b", "b", ":b", "host:", "@host", "[::1", "a/b@host:c"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in ["/srv/b", "host:b", "ssh://host", "ssh:///b", "ssh://h:x/b", "ssh://::1/b", "ssh://@h/b"]
        {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
