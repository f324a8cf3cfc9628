//! Finds the bytes inside a string that need attention, eight at a time.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks the high bit of the bytes in `word` that are zero; exact up to and including the lowest one.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// How many bytes of `bytes` stand before the first quote, backslash or control character.
///
/// These are the bytes that end a run inside a JSON string (RFC 8259 section 7), and, the other way round, the
/// ones that a writer has to escape.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let quote = zero_bytes(word ^ (ONES * 0x22));
        let backslash = zero_bytes(word ^ (ONES * 0x5c));
        let hit = control | quote | backslash;
        if hit != 0 {
            return len + (hit.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + rest.iter().take_while(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_byte_is_found_at_every_place() {
        for special in (0u8..0x20).chain([b'"', b'\\']) {
            for at in 0..40 {
                let mut bytes = "a\u{7f}\u{80}\u{ff}\u{10ffff} !#[]".repeat(8).into_bytes();
                bytes.truncate(60);
                bytes[at] = special;
                bytes[at + 5] = b'"';
                bytes[at + 1] = special.wrapping_add(1);
                assert_eq!(plain_len(&bytes), at, "byte {special:#x}");
            }
        }
        assert_eq!(plain_len("plain text, longer than one word: é".as_bytes()), 36);
        assert_eq!(plain_len(b""), 0);
    }
}
