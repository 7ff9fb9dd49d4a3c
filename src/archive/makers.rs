//! The machines that made a list of archives.

use super::name::Archive;
use super::origin::Origin;

/// The newest archive of each machine. `archives` are sorted, the newest first. A mark identifies
/// the machine; an archive without a mark is identified by its host.
pub fn makers<'a>(archives: &'a [(&'a Archive, Origin)]) -> Vec<(&'a Archive, &'a Origin)> {
    let machine = |origin: &'a Origin| origin.mark.as_ref().and_then(|mark| mark.machine.as_deref());
    // An archive without a mark belongs to the only machine that has its host's name.
    let machine_of = |host: &str| {
        let mut of_host: Vec<&str> =
            archives.iter().filter(|(_, o)| o.host == host).filter_map(|(_, o)| machine(o)).collect();
        of_host.sort_unstable();
        of_host.dedup();
        if let [one] = of_host.as_slice() { Some(*one) } else { None }
    };
    let key =
        |origin: &'a Origin| machine(origin).or_else(|| machine_of(&origin.host)).unwrap_or(&origin.host);
    let mut makers: Vec<(&Archive, &Origin)> = Vec::new();
    for (archive, origin) in archives {
        if !makers.iter().any(|(_, known)| key(known) == key(origin)) {
            makers.push((archive, origin));
        }
    }
    makers
}
