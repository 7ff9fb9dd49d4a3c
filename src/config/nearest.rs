//! Suggests a word for a mistyped one.

/// The member of `known` that is most similar to `word`, if it is similar enough.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |k: &str| strsim::normalized_damerau_levenshtein(&word.to_lowercase(), k);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= 0.5).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_that_is_like_enough_is_named() {
        let known = ["list", "extract", "prune"];
        assert_eq!(nearest("lsit", &known), Some("list"));
        assert_eq!(nearest("EXTRAKT", &known), Some("extract"));
        assert_eq!(nearest("frobnicate", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest("list", &[]), None);
    }
}
