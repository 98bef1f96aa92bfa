//! Joins deflate streams (RFC 1951) into one.
//!
//! libdeflate takes a whole input in one call and marks the last block of what it makes as the last of all. Clearing
//! that mark lets another stream follow, but where it lies is not told: the blocks have to be gone through, symbol by
//! symbol, though without putting anything out, which takes about an eighth of the time of the fastest compression.

/// Where a deflate stream's last block begins and ends, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastBlock {
    /// The bit that marks it as the last.
    pub(super) begin: usize,
    /// Behind its last bit.
    pub(super) end: usize,
}

impl LastBlock {
    /// Looks for it. `None` where `stream` is not one whole stream that ends in its last byte.
    pub(super) fn find(stream: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(stream);
        let mut codes = Codes::default();
        loop {
            let begin = bits.position();
            bits.refill();
            let last = bits.take(1) == 1;
            match bits.take(2) {
                0 => skip_stored(&mut bits)?,
                1 => {
                    codes.fix();
                    skip_symbols(&mut bits, &codes)?;
                }
                2 => {
                    codes.read(&mut bits)?;
                    skip_symbols(&mut bits, &codes)?;
                }
                _ => return None,
            }
            let end = bits.position();
            if end > stream.len() * 8 {
                return None;
            }
            if last {
                return (end.div_ceil(8) == stream.len()).then_some(Self { begin, end });
            }
        }
    }
}

fn skip_stored(bits: &mut Bits<'_>) -> Option<()> {
    let at = bits.position().div_ceil(8);
    let &[a, b, c, d] = bits.stream.get(at..at + 4)? else {
        return None;
    };
    let length = u16::from_le_bytes([a, b]);
    if length != !u16::from_le_bytes([c, d]) {
        return None;
    }
    bits.seek(at + 4 + usize::from(length));
    Some(())
}

fn skip_symbols(bits: &mut Bits<'_>, codes: &Codes) -> Option<()> {
    let far = bits.stream.len() + 8;
    loop {
        bits.refill();
        let mut entry = codes.symbols.look(bits)?;
        // Three literals of 15 bits leave room for no match: that takes another refill.
        for _ in 0..2 {
            if entry.kind() != LITERAL {
                break;
            }
            bits.drop(entry.bits());
            entry = codes.symbols.look(bits)?;
        }
        bits.drop(entry.bits());
        match entry.kind() {
            LITERAL => {}
            MATCH => {
                bits.refill();
                let entry = codes.distances.look(bits)?;
                bits.drop(entry.bits());
            }
            _ => return Some(()),
        }
        if bits.at > far {
            return None;
        }
    }
}

/// Bits of a slice, least significant first; zeroes behind its end.
struct Bits<'a> {
    stream: &'a [u8],
    /// The next byte to hold.
    at: usize,
    held: u64,
    /// How many of `held` count; above them are bits that the next refill sets again.
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(stream: &'a [u8]) -> Self {
        Self {
            stream,
            at: 0,
            held: 0,
            count: 0,
        }
    }

    /// Holds 56 bits at least.
    #[inline]
    fn refill(&mut self) {
        let next = match self.stream.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(next) => u64::from_le_bytes(*next),
            None => self.next_at_the_end(),
        };
        self.held |= next << self.count;
        // As many bytes as fit whole: so 56 to 63 bits are held, and the count keeps its place within a byte.
        self.at += (63 - self.count as usize) >> 3;
        self.count |= 0x38;
    }

    #[cold]
    fn next_at_the_end(&self) -> u64 {
        let mut next = [0; 8];
        for (to, from) in next.iter_mut().zip(self.stream.iter().skip(self.at)) {
            *to = *from;
        }
        u64::from_le_bytes(next)
    }

    #[inline]
    fn drop(&mut self, count: u32) {
        self.held >>= count;
        self.count -= count;
    }

    /// At most 16 bits, of those that a refill has brought.
    #[inline]
    fn take(&mut self, count: u32) -> u16 {
        let [a, b, ..] = (self.held & ((1 << count) - 1)).to_le_bytes();
        self.drop(count);
        u16::from_le_bytes([a, b])
    }

    fn position(&self) -> usize {
        self.at * 8 - self.count as usize
    }

    fn seek(&mut self, at: usize) {
        (self.at, self.held, self.count) = (at, 0, 0);
    }
}

const LITERAL: u16 = 0;
const MATCH: u16 = 1;
const END: u16 = 2;
const LONG: u16 = 3;

/// What a symbol is, and how many bits it takes with the extra bits behind it.
#[derive(Debug, Clone, Copy, Default)]
struct Entry(u16);

impl Entry {
    fn new(kind: u16, code: u8, extra: u8) -> Self {
        Self(kind << 8 | u16::from(code + extra))
    }

    #[inline]
    fn bits(self) -> u32 {
        u32::from(self.0 & 0xFF)
    }

    #[inline]
    fn kind(self) -> u16 {
        self.0 >> 8
    }
}

/// Codewords up to this long are looked up in one step.
const SHORT: u32 = 11;

/// A prefix code: what each next bits stand for.
#[derive(Debug)]
struct Code {
    short: [Entry; 1 << SHORT],
    /// For the longer codewords: how many there are of each length, and the entries of all symbols in code order.
    counts: [u16; 16],
    ordered: [Entry; 288],
}

impl Default for Code {
    fn default() -> Self {
        Self {
            short: [Entry::default(); 1 << SHORT],
            counts: [0; 16],
            ordered: [Entry::default(); 288],
        }
    }
}

impl Code {
    /// The code in which symbol n has a word of `lengths[n]` bits (none: 0) and is what `entry` says.
    fn build(&mut self, lengths: &[u8], entry: impl Fn(usize, u8) -> Entry) -> Option<()> {
        self.counts = [0; 16];
        for length in lengths {
            self.counts[usize::from(*length)] += 1;
        }
        self.counts[0] = 0;
        let (mut code, mut offset) = (0u16, 0u16);
        let (mut next, mut place) = ([0u16; 16], [0u16; 16]);
        for length in 1..16 {
            code = (code << 1).checked_add(self.counts[length])?;
            if u32::from(code) > 1 << length {
                return None;
            }
            next[length] = code - self.counts[length];
            place[length] = offset;
            offset += self.counts[length];
        }
        // Where a code is not complete, what is left stands for nothing.
        self.short = [Entry::new(LONG, 0, 0); 1 << SHORT];
        for (symbol, &length) in lengths.iter().enumerate() {
            if length == 0 {
                continue;
            }
            let entry = entry(symbol, length);
            let word = next[usize::from(length)];
            next[usize::from(length)] += 1;
            self.ordered[usize::from(place[usize::from(length)])] = entry;
            place[usize::from(length)] += 1;
            if u32::from(length) <= SHORT {
                // Deflate packs codewords from their highest bit.
                let first = usize::from(word.reverse_bits() >> (16 - u16::from(length)));
                for slot in self.short[first..].iter_mut().step_by(1 << length) {
                    *slot = entry;
                }
            }
        }
        Some(())
    }

    #[inline]
    fn look(&self, bits: &Bits<'_>) -> Option<Entry> {
        let entry = self.short[(bits.held & ((1 << SHORT) - 1)) as usize];
        if entry.kind() == LONG {
            return self.look_long(bits.held);
        }
        Some(entry)
    }

    /// Bit by bit: the words of each length follow each other in value.
    #[cold]
    fn look_long(&self, mut held: u64) -> Option<Entry> {
        let (mut code, mut first, mut index) = (0usize, 0usize, 0usize);
        for length in 1..16 {
            code |= usize::from(held & 1 == 1);
            held >>= 1;
            let count = usize::from(self.counts[length]);
            if code < first + count {
                return self.ordered.get(index + code - first).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// The two codes of a block.
#[derive(Debug, Default)]
struct Codes {
    symbols: Code,
    distances: Code,
}

/// Which code length each of the first lengths in a block's header is for.
const HEADER_ORDER: [usize; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

impl Codes {
    fn build(&mut self, symbols: &[u8], distances: &[u8]) -> Option<()> {
        self.symbols.build(symbols, |symbol, length| match symbol {
            0..=255 => Entry::new(LITERAL, length, 0),
            256 => Entry::new(END, length, 0),
            _ => Entry::new(MATCH, length, extra_of_length(symbol - 257)),
        })?;
        self.distances.build(distances, |symbol, length| {
            Entry::new(MATCH, length, extra_of_distance(symbol))
        })
    }

    /// The code that blocks of type 1 have.
    fn fix(&mut self) {
        let mut symbols = [8; 288];
        symbols[144..256].fill(9);
        symbols[256..280].fill(7);
        // It is a complete code, so there is nothing to fail.
        let _complete = self.build(&symbols, &[5; 30]);
    }

    /// Reads a block's header.
    fn read(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        bits.refill();
        let symbols = usize::from(bits.take(5)) + 257;
        let distances = usize::from(bits.take(5)) + 1;
        let header = usize::from(bits.take(4)) + 4;
        if symbols > 286 || distances > 30 {
            return None;
        }
        let mut lengths = [0u8; 19];
        for place in &HEADER_ORDER[..header] {
            bits.refill();
            lengths[*place] = bits.take(3).to_le_bytes()[0];
        }
        let mut code = Code::default();
        // The symbol itself takes the place of the kind.
        code.build(&lengths, |symbol, length| {
            Entry::new(u16::try_from(symbol).unwrap_or(0) + LONG + 1, length, 0)
        })?;
        let mut lengths = [0u8; 286 + 30];
        let all = symbols + distances;
        let mut at = 0;
        while at < all {
            bits.refill();
            let entry = code.look(bits)?;
            bits.drop(entry.bits());
            let (length, times) = match entry.kind() - LONG - 1 {
                16 => (
                    *lengths.get(at.checked_sub(1)?)?,
                    usize::from(bits.take(2)) + 3,
                ),
                17 => (0, usize::from(bits.take(3)) + 3),
                18 => (0, usize::from(bits.take(7)) + 11),
                length => (length.to_le_bytes()[0], 1),
            };
            lengths.get_mut(at..at + times)?.fill(length);
            at += times;
        }
        if at != all {
            return None;
        }
        let (symbols, distances) = lengths[..all].split_at(symbols);
        self.build(symbols, distances)
    }
}

fn extra_of_length(symbol: usize) -> u8 {
    match symbol {
        0..=7 | 28.. => 0,
        _ => u8::try_from(symbol / 4 - 1).unwrap_or(0),
    }
}

fn extra_of_distance(symbol: usize) -> u8 {
    u8::try_from((symbol / 2).saturating_sub(1)).unwrap_or(0)
}
