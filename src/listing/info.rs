//! What `borg info` prints, as far as it is known without borg's cache.

use borg_repository::{Archive, ChunkLists, FileType, Item, Repository};
use serde_json::{Value as Json, json};

use super::archives::command_line;
use super::value::{Time, readable};

/// The sizes of an archive, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub files: u64,
    pub original: u64,
    pub compressed: u64,
}

impl Totals {
    /// Adds an item with these chunks. Borg counts a file with several names once.
    pub fn add(&mut self, item: &Item, chunks: &ChunkLists) {
        let is_file = FileType::from_mode(item.mode) == Some(FileType::File);
        self.files += u64::from(is_file && item.source.is_none());
        self.original += chunks.chunks.iter().map(|chunk| u64::from(chunk.size)).sum::<u64>();
        self.compressed += chunks.chunks.iter().map(|chunk| u64::from(chunk.stored)).sum::<u64>();
    }
}

/// What `borg info ::ARCHIVE` prints, without deduplicated sizes.
pub fn archive_text(archive: &Archive, totals: &Totals) -> String {
    let (start, end) = (Time::parse(&archive.time), Time::parse(&archive.end));
    let mut lines = Vec::new();
    let mut line = |name: &str, text: &str| lines.push(format!("{name}: {text}"));
    line("Archive name", &readable(&archive.name));
    line("Archive fingerprint", &archive.id.to_string());
    line("Comment", &archive.comment);
    line("Hostname", &archive.hostname);
    line("Username", &archive.username);
    line("Time (start)", &start.long());
    line("Time (end)", &end.long());
    line("Duration", &format!("{:.2} seconds", start.seconds_to(end)));
    line("Number of files", &totals.files.to_string());
    line("Working Directory", &archive.directory);
    line("Command line", &command_line(archive));
    line("Original size", &format!("{} bytes", totals.original));
    line("Compressed size", &format!("{} bytes", totals.compressed));
    lines.join("\n")
}

/// The object of an archive in the output of `borg info --json`.
pub fn archive_json(archive: &Archive, totals: &Totals) -> Json {
    let (start, end) = (Time::parse(&archive.time), Time::parse(&archive.end));
    json!({
        "name": readable(&archive.name),
        "id": archive.id.to_string(),
        "start": start.iso(),
        "end": end.iso(),
        "duration": start.seconds_to(end),
        "comment": archive.comment,
        "hostname": archive.hostname,
        "username": archive.username,
        "cwd": archive.directory,
        "command_line": archive.command_line,
        "chunker_params": chunker(&archive.chunker),
        "stats": {
            "nfiles": totals.files,
            "original_size": totals.original,
            "compressed_size": totals.compressed,
        },
    })
}

/// borg's list: a name and numbers.
fn chunker(parameters: &str) -> Json {
    let parts = parameters.split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.parse::<u64>().map_or_else(|_| json!(part), |number| json!(number))).collect()
}

/// What `borg info` prints of a repository, without sizes.
pub fn repository_text(repository: &Repository, location: &str) -> String {
    let encryption = match repository.encryption() {
        name @ ("none" | "authenticated" | "authenticated-blake2") => format!("No ({name})"),
        name => format!("Yes ({name})"),
    };
    let modified = Time::parse(&repository.manifest().timestamp).long();
    format!(
        "Repository ID: {}\nLocation: {location}\nEncrypted: {encryption}\nLast modified: {modified}",
        repository.id()
    )
}

/// The members that all of borg's JSON about a repository has.
pub fn repository_json(repository: &Repository, location: &str) -> Json {
    json!({
        "repository": {
            "id": repository.id().to_string(),
            "location": location,
            "last_modified": Time::parse(&repository.manifest().timestamp).iso(),
        },
        "encryption": { "mode": repository.encryption() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunker_is_a_list_as_in_borgs_json() {
        assert_eq!(chunker("buzhash,19,23,21,4095"), json!(["buzhash", 19, 23, 21, 4095]));
        assert_eq!(chunker(""), json!([]));
    }
}
