//! What must happen in the order of the volume: hashes are listed, objects are numbered, runs of zeroes are joined.

use super::Creation;
use super::stages::{Compared, Content, Hashes, Pending, zero_states};
use crate::diff::{BlockHash, Piece, PieceKind, pieces};
use crate::error::{Error, Result};
use crate::format::{hash_list, metadata};
use crate::pipeline::{Unit, UnitKind};
use crate::range::ByteRange;

impl Creation<'_> {
    /// The parent's hashes for `range`.
    pub(super) fn parent_hashes(&self, range: ByteRange) -> Result<Option<Vec<BlockHash>>> {
        let block = self.engine.config.block_size;
        self.parent
            .as_ref()
            .map(|(_, index)| index.hashes(range.start() / block, range.len().div_ceil(block)))
            .transpose()
    }

    /// Compares a unit that need not be read.
    pub(super) fn compare_unread(&self, unit: Unit) -> Result<Compared> {
        let block = self.engine.config.block_size;
        let range = unit.range;
        let parent = self.parent_hashes(range)?;
        if unit.kind == UnitKind::Unchanged {
            let hashes = parent
                .filter(|p| p.len() as u64 == range.len().div_ceil(block))
                .ok_or_else(|| {
                    Error::internal(
                        "compare",
                        format!("bytes {range} are told as unchanged and the parent has no hashes of them"),
                    )
                })?;
            return Ok(Compared {
                range,
                audit: false,
                hashes: Hashes::Each(hashes),
                pieces: Vec::new(),
                bytes: None,
            });
        }
        let pieces = match parent {
            None => vec![Piece {
                range,
                kind: PieceKind::Zero,
            }],
            Some(parent) => {
                let states = zero_states(&self.engine.hasher, range, block, &parent);
                pieces(range, block, &states, self.engine.config.join)
            }
        };
        Ok(Compared {
            range,
            audit: false,
            hashes: Hashes::Zeroes,
            pieces,
            bytes: None,
        })
    }

    /// Takes units in the order of the volume: writes their hashes, numbers their objects.
    pub(super) async fn drain_compared(&mut self) -> Result<()> {
        while let Some(compared) = self.compared.remove(&self.next_compared) {
            self.next_compared += 1;
            self.write_hashes(&compared).await?;
            let covered: u64 = compared.pieces.iter().map(|p| p.range.len()).sum();
            self.outcome.covered_bytes += covered;
            self.advance(compared.range.len() - covered);
            let mut bytes = compared.bytes;
            for piece in compared.pieces {
                match (piece.kind, &mut bytes) {
                    (PieceKind::Zero, _) => self.add_zeroes(piece.range),
                    (PieceKind::Data, Some((unit, output))) => {
                        self.end_zeroes();
                        let from = usize::try_from(piece.range.start() - compared.range.start());
                        let length = usize::try_from(piece.range.len());
                        let (Ok(from), Ok(length)) = (from, length) else {
                            return Err(Error::internal("cut piece", "too long for memory"));
                        };
                        self.objects += 1;
                        self.to_sum.push_back(Pending {
                            number: self.objects,
                            range: piece.range,
                            content: Content::Data {
                                bytes: unit.slice(from..from + length),
                                output: output.split(piece.range.len()),
                                md5: [0; 16],
                            },
                        });
                    }
                    (PieceKind::Data, None) => {
                        return Err(Error::internal(
                            "cut piece",
                            "data of a unit that was not read",
                        ));
                    }
                }
            }
        }
        if self.units_ended && self.next_compared == self.units_planned {
            self.end_zeroes();
        }
        Ok(())
    }

    pub(super) async fn write_hashes(&mut self, compared: &Compared) -> Result<()> {
        match &compared.hashes {
            Hashes::Each(hashes) => {
                hash_list::write_hashes(self.hash_list.buffer(), !self.any_hash, hashes);
                self.any_hash = true;
                self.hash_list.flush_parts().await
            }
            Hashes::Zeroes => {
                let hasher = &self.engine.hasher;
                let whole = hasher.zeroes(hasher.block_size());
                for part in compared.range.pieces(self.engine.config.block_size) {
                    let hash = match usize::try_from(part.len()) {
                        Ok(n) if n != hasher.block_size() => hasher.zeroes(n),
                        _ => whole,
                    };
                    hash_list::write_hash(self.hash_list.buffer(), !self.any_hash, &hash);
                    self.any_hash = true;
                    self.hash_list.flush_parts().await?;
                }
                Ok(())
            }
        }
    }

    /// Goes on with a run of zeroes, or begins one; a run that is long enough becomes an object.
    pub(super) fn add_zeroes(&mut self, range: ByteRange) {
        let joined = match self.zeroes {
            Some(run) if run.end() == range.start() => ByteRange::new(run.start(), range.end()),
            _ => None,
        };
        if joined.is_none() {
            self.end_zeroes();
        }
        let mut run = joined.unwrap_or(range);
        while run.len() >= self.engine.config.zero_object {
            let (head, tail) = run.split_at(run.start() + self.engine.config.zero_object);
            self.push_zeroes(head);
            run = tail;
        }
        self.zeroes = (!run.is_empty()).then_some(run);
    }

    pub(super) fn end_zeroes(&mut self) {
        if let Some(run) = self.zeroes.take() {
            self.push_zeroes(run);
        }
    }

    pub(super) fn push_zeroes(&mut self, range: ByteRange) {
        self.objects += 1;
        self.to_compress.push_back(Pending {
            number: self.objects,
            range,
            content: Content::Zeroes,
        });
    }

    pub(super) fn write_entries(&mut self) -> Result<()> {
        let mut text = Vec::new();
        while let Some(entry) = self.entries.remove(&(self.entries_written + 1)) {
            metadata::write_entry(&mut text, self.entries_written == 0, &entry);
            self.entries_written += 1;
        }
        self.spool.append(&text)
    }
}
