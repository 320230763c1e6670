//! Pure: what a plain word is by the core schema of YAML 1.2 (section 10.3.2). `yes`, `on` and `0777` are no more than they look.

use super::Value;

/// Returns what an unquoted word is.
pub(in crate::config) fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        word if is_number(word) => Value::Number(word.to_owned()),
        word => Value::Text(word.to_owned()),
    }
}

fn is_number(word: &str) -> bool {
    let all = |digits: &str, is: fn(u8) -> bool| !digits.is_empty() && digits.bytes().all(is);
    if let Some(octal) = word.strip_prefix("0o") {
        return all(octal, |digit| matches!(digit, b'0'..=b'7'));
    }
    if let Some(hexadecimal) = word.strip_prefix("0x") {
        return all(hexadecimal, |digit| digit.is_ascii_hexdigit());
    }
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(word, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| all(exponent, |digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_the_core_schema_says() {
        for word in ["1", "-1", "+1.5", "3.0", "1e3", "0x1F", "0o17", ".5", "5.", ".inf", "-.INF", ".nan", "0777"] {
            assert_eq!(resolve(word), Value::Number(word.to_owned()), "{word}");
        }
        for word in
            ["yes", "no", "on", "off", "y", "1s", "2222:22", "1_000", "0xZ", "1.2.3", "e3", "+", "-", ".", "1e", "tRue"]
        {
            assert_eq!(resolve(word), Value::Text(word.to_owned()), "{word}");
        }
        for word in ["", "~", "null", "NULL"] {
            assert_eq!(resolve(word), Value::Null, "{word}");
        }
        assert_eq!((resolve("True"), resolve("false")), (Value::Bool(true), Value::Bool(false)));
    }
}
