//! The mode of a file as `ls -l` shows it.

use borg_repository::FileType;

/// The letter of the type, as in `ls -l`; `?` for none.
pub fn letter(mode: u32) -> char {
    match FileType::from_mode(mode) {
        Some(FileType::File) => '-',
        Some(FileType::Directory) => 'd',
        Some(FileType::Symlink) => 'l',
        Some(FileType::BlockDevice) => 'b',
        Some(FileType::CharDevice) => 'c',
        Some(FileType::Fifo) => 'p',
        Some(FileType::Socket) => 's',
        None => '?',
    }
}

/// `-rwxr-x---`, with `first` as the type.
pub fn text(mode: u32, first: char) -> String {
    let mut text = String::from(first);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_shown_as_ls_shows_them() {
        for (mode, expected) in [
            (0o100644, "-rw-r--r--"),
            (0o040755, "drwxr-xr-x"),
            (0o104755, "-rwsr-xr-x"),
            (0o102644, "-rw-r-Sr--"),
            (0o041777, "drwxrwxrwt"),
            (0o041000, "d--------T"),
            (0o120777, "lrwxrwxrwx"),
            (0o060660, "brw-rw----"),
            (0o020620, "crw--w----"),
            (0o010600, "prw-------"),
            (0o140600, "srw-------"),
            (0o000644, "?rw-r--r--"),
        ] {
            assert_eq!(text(mode, letter(mode)), expected);
        }
    }
}
