//! Symbolic links that never lead out of the archive: an absolute target begins at the archive's
//! root, and `..` stops there, as it did on the original machine.

/// The target of a link that is `depth` directories below the root. `stripped` components are removed from
/// each path of the archive.
pub fn target(depth: usize, target: &[u8], stripped: usize) -> Vec<u8> {
    if target.starts_with(b"/") {
        let (_, names) = resolved(target);
        return joined(depth, names.get(stripped..).unwrap_or_default());
    }
    let (up, names) = resolved(target);
    let ups = target.split(|b| *b == b'/').filter(|name| *name == b"..").count();
    // A target that goes up first, and not above the root, is kept. A `..` after a name may follow
    // another link.
    if ups == up && up <= depth { target.to_vec() } else { joined(up.min(depth), &names) }
}

/// How many directories a path goes up first, and then its names, without `.` and `..`.
fn resolved(path: &[u8]) -> (usize, Vec<&[u8]>) {
    let (mut up, mut names) = (0, Vec::new());
    for name in path.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => up += usize::from(names.pop().is_none()),
            _ => names.push(name),
        }
    }
    (up, names)
}

fn joined(up: usize, names: &[&[u8]]) -> Vec<u8> {
    let all = [&vec![&b".."[..]; up], names].concat();
    if all.is_empty() { b".".to_vec() } else { all.join(&b'/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(link: &str, to: &str, stripped: usize) -> String {
        let depth = link.matches('/').count();
        String::from_utf8(target(depth, to.as_bytes(), stripped)).unwrap()
    }

    #[test]
    fn an_absolute_link_begins_at_the_root_of_the_archive() {
        for (link, target, expected) in [
            ("l", "/etc/x", "etc/x"),
            ("a/b/l", "/etc/x", "../../etc/x"),
            ("a/l", "/", ".."),
            ("l", "/", "."),
            ("a/l", "/../../etc//./x/../y", "../etc/y"),
        ] {
            assert_eq!(leads(link, target, 0), expected, "{link} -> {target}");
        }
        assert_eq!(leads("a/l", "/home/me/x", 1), "../me/x");
    }

    #[test]
    fn a_relative_link_stays_as_it_is_unless_it_leads_out() {
        for (link, target, expected) in [
            ("a/b/l", "../../x", "../../x"),
            ("a/l", "./../x/", "./../x/"),
            ("l", "x/../y", "y"),
            ("a/l", "../../etc/x", "../etc/x"),
            ("l", "../../../etc/x", "etc/x"),
            ("a/b/l", "c/../../../../x", "../../x"),
            ("l", "link/../..", "."),
        ] {
            assert_eq!(leads(link, target, 0), expected, "{link} -> {target}");
        }
    }
}
