//! Which names are one to a file system that ignores case, or how Unicode composes a letter.

use protocol::path::RelPath;
use unicode_normalization::UnicodeNormalization as _;

/// Returns what all spellings of a path have in common there (Unicode Standard Annex 15, and lower case).
pub fn folded(path: &RelPath) -> String {
    let text = path.as_str();
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Composed again, since what is made small may compose otherwise.
    text.nfc().collect::<String>().to_lowercase().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_are_one() {
        let fold = |text: &str| folded(&RelPath::new(text).expect("a plain path"));
        for (one, other) in [
            ("README", "Readme"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}/A", "cafe\u{301}/a"),
            ("\u{212b}", "\u{e5}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} and {other}");
        }
        for (one, other) in [("cafe", "caf\u{e9}"), ("a/b", "ab"), ("a_b", "a-b")] {
            assert_ne!(fold(one), fold(other), "{one} and {other}");
        }
    }
}
