//! The syntax of `borg create --compression`.

/// The syntax that the message about a wrong specification shows.
pub const SYNTAX: &str = "none, lz4, zstd[,1-22], zlib[,0-9], lzma[,0-9], auto,X or obfuscate,SPEC,X";

const NAMES: [&str; 7] = ["none", "lz4", "zstd", "zlib", "lzma", "auto", "obfuscate"];

/// Whether some borg 1.x may accept `spec`. Only that borg knows its levels and its other words.
pub fn is_plausible(spec: &str) -> bool {
    let name = spec.split(',').next().unwrap_or_default();
    NAMES.contains(&name) && spec.chars().all(|c| c.is_ascii_alphanumeric() || ",._=+-".contains(c))
}

/// Whether every borg accepts `spec`.
pub fn is_known(spec: &str) -> bool {
    let words: Vec<&str> = spec.split(',').collect();
    match words.as_slice() {
        ["obfuscate", level, rest @ ..] => {
            number(level).is_some_and(|n| (1..=6).contains(&n) || (110..=123).contains(&n)) && is_plain(rest)
        }
        words => is_plain(words),
    }
}

fn is_plain(words: &[&str]) -> bool {
    match words {
        ["auto", rest @ ..] => is_algorithm(rest),
        words => is_algorithm(words),
    }
}

fn is_algorithm(words: &[&str]) -> bool {
    match words {
        ["none" | "lz4" | "zstd" | "zlib" | "lzma"] => true,
        ["zstd", level] => number(level).is_some_and(|n| (1..=22).contains(&n)),
        ["zlib" | "lzma", level] => number(level).is_some_and(|n| n <= 9),
        _ => false,
    }
}

fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_none_is_refused_and_what_a_newer_borg_may_take_is_not() {
        for spec in ["obfuscate,250,zstd,3", "zstd,30", "auto,zstd,3,long", "zstd,-1"] {
            assert!(is_plausible(spec) && !is_known(spec), "{spec}");
        }
        for spec in ["", "-x", " zstd", "zstd 3", "zstd;rm", "3", "gzip", "gzip,zstd"] {
            assert!(!is_plausible(spec), "{spec}");
        }
    }

    #[test]
    fn what_every_borg_takes_is_known_and_what_some_refuse_is_not() {
        let good = "none lz4 zstd zstd,1 zstd,22 zlib zlib,0 zlib,9 lzma lzma,9 auto,zstd auto,zstd,7 \
            auto,lz4 auto,none obfuscate,110,zstd obfuscate,1,none obfuscate,123,auto,zstd,3";
        for spec in good.split_whitespace() {
            assert!(is_known(spec) && is_plausible(spec), "{spec}");
        }
        let bad = "zstd,0 zstd,23 zstd,x zlib,10 lzma,10 auto obfuscate,7,lz4 obfuscate,124,lz4 obfuscate,2 \
            auto,obfuscate,1,lz4 zstd,_3 zstd,+3 zstd, ZSTD auto,zstd,3,4 gzip , zlib,99999999999";
        for spec in bad.split_whitespace().chain(["", " zstd"]) {
            assert!(!is_known(spec), "{spec}");
        }
    }
}
