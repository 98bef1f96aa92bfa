//! Sizes in bytes as people write them.

/// Reads `16MiB`, `1 GiB`, `64K` or a plain number of bytes. K, M, G and T are powers of 1024, with or without `iB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong =
        || format!("{text:?} is not a size; write 16MiB, 512KiB, 1GiB or a number of bytes");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "kb" | "mb" | "gb" | "tb" => {
            return Err(format!(
                "{text:?}: use KiB, MiB, GiB or TiB (powers of 1024)"
            ));
        }
        _ => return Err(wrong()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// A size for people: `1.5 GiB`.
pub(crate) fn print_size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("16MiB", 16 << 20),
            ("16 mib", 16 << 20),
            ("1G", 1 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "MiB", "-1", "1.5GiB", "1PiB2", "99999999999T"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn powers_of_1000_are_not_guessed_at() {
        assert!(parse_size("16MB").unwrap_err().contains("MiB"));
    }

    #[test]
    fn a_size_is_printed_short() {
        assert_eq!(print_size(3 << 29), "1.50 GiB");
    }
}
