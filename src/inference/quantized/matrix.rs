use super::{
    super::{
        blocks::Blocks,
        crew::{self, Shared},
        instructions::Instructions,
    },
    activations::{ByteRows, ROWS},
    kernel,
    kind::{BLOCK, BlockKind, CHUNK, PANEL},
    panel::{self, Unpacked},
};
use candle_core::{DType, Result, Tensor, quantized::QTensor};
use memmap2::Mmap;
use rayon::prelude::*;
use std::{
    borrow::Cow,
    ops::{Deref, Range},
    sync::Arc,
};

/// Bytes of activations that meet all panels of a task before the next ones
/// do, so that they stay in the cache.
const KEPT: usize = 384 << 10;

/// `[outputs, inputs]` weights in panels of 32 outputs.
pub struct BlockMatrix {
    kind: BlockKind,
    outputs: usize,
    inputs: usize,
    panels: Panels,
    instructions: Instructions,
}

/// What the vector units read at once.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

enum Panels {
    Owned(Vec<Line>),
    /// A file, and where in it; a multiple of a line's bytes.
    Mapped(Arc<Mmap>, Range<usize>),
}

impl Deref for Panels {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        match self {
            Self::Owned(lines) => lines,
            Self::Mapped(map, range) => {
                let bytes = &map[range.clone()];
                // SAFETY: maps begin at a page, the range at a line of it, and
                // lines are arrays of bytes.
                unsafe {
                    std::slice::from_raw_parts(
                        bytes.as_ptr().cast(),
                        bytes.len() / size_of::<Line>(),
                    )
                }
            }
        }
    }
}

impl BlockMatrix {
    /// A matrix that lies in a file as [`BlockMatrix::as_bytes`] gave it;
    /// `None` when that is not as long as such a matrix.
    pub fn of_map(
        kind: BlockKind,
        outputs: usize,
        inputs: usize,
        map: Arc<Mmap>,
        range: Range<usize>,
    ) -> Option<Self> {
        let bytes = outputs.div_ceil(PANEL) * kind.panel_bytes(inputs.div_ceil(BLOCK));
        let fits = range.len() == bytes
            && range.start.is_multiple_of(size_of::<Line>())
            && range.end <= map.len();
        fits.then(|| Self {
            kind,
            outputs,
            inputs,
            panels: Panels::Mapped(map, range),
            instructions: Instructions::best(),
        })
    }

    /// Packs rows of blocks; nothing is rounded again.
    pub fn of_blocks(kind: BlockKind, blocks: &Blocks<'_>) -> Self {
        let (outputs, inputs) = (blocks.rows(), blocks.inputs());
        Self::filled(kind, outputs, inputs, |rows, panel| {
            let rows: Vec<&[u8]> = rows.map(|row| blocks.row(row)).collect();
            panel::pack(kind, &rows, inputs.div_ceil(BLOCK), panel);
        })
    }

    /// Quantises `[outputs, inputs]` floats on the CPU, a panel at a time.
    ///
    /// # Errors
    /// When the tensor is of another kind.
    pub fn quantize(kind: BlockKind, weights: &Tensor) -> Result<Self> {
        let (outputs, inputs) = weights.dims2()?;
        let width = inputs.next_multiple_of(kind.ggml().block_size());
        let rows_of = |rows: Range<usize>| {
            let part = weights
                .narrow(0, rows.start, rows.len())?
                .to_dtype(DType::F32)?;
            // Quantising takes all values behind a tensor, so a view is copied.
            let part = if width == inputs {
                part.force_contiguous()?
            } else {
                part.pad_with_zeros(1, 0, width - inputs)?
            };
            let blocks = QTensor::quantize(&part, kind.ggml())?;
            Ok(blocks.data()?.into_owned())
        };
        let failure = std::sync::Mutex::new(None);
        let matrix = Self::filled(kind, outputs, inputs, |rows, panel| match rows_of(rows) {
            Ok(bytes) => {
                let blocks = Blocks::new(kind.ggml(), width, Cow::Owned(bytes));
                let rows: Vec<&[u8]> = (0..blocks.rows()).map(|row| blocks.row(row)).collect();
                panel::pack(kind, &rows, inputs.div_ceil(BLOCK), panel);
            }
            Err(error) => {
                if let Ok(mut failure) = failure.lock() {
                    *failure = Some(error);
                }
            }
        });
        match failure.into_inner() {
            Ok(None) => Ok(matrix),
            Ok(Some(error)) => Err(error),
            Err(poisoned) => candle_core::bail!("quantising panicked: {poisoned}"),
        }
    }

    /// `fill` gets the rows of a panel, and its bytes.
    fn filled(
        kind: BlockKind,
        outputs: usize,
        inputs: usize,
        fill: impl Fn(Range<usize>, &mut [u8]) + Sync,
    ) -> Self {
        let lines = kind.panel_bytes(inputs.div_ceil(BLOCK)) / size_of::<Line>();
        let mut panels = vec![Line([0; 64]); outputs.div_ceil(PANEL) * lines];
        panels
            .par_chunks_mut(lines.max(1))
            .enumerate()
            .for_each(|(index, panel)| {
                let start = index * PANEL;
                fill(start..outputs.min(start + PANEL), bytes_mut(panel));
            });
        Self {
            kind,
            outputs,
            inputs,
            panels: Panels::Owned(panels),
            instructions: Instructions::best(),
        }
    }

    /// The same matrix, multiplied by other instructions, which must be
    /// available.
    #[cfg(test)]
    pub fn using(mut self, instructions: Instructions) -> Self {
        self.instructions = instructions;
        self
    }

    /// The format of the weights.
    pub const fn kind(&self) -> BlockKind {
        self.kind
    }

    /// Rows of the unpacked matrix.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the unpacked matrix.
    pub const fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.panels)
    }

    /// The panels as they lie in memory.
    pub fn as_bytes(&self) -> &[u8] {
        bytes(&self.panels)
    }

    const fn panel_bytes(&self) -> usize {
        self.kind.panel_bytes(self.inputs.div_ceil(BLOCK))
    }

    /// `x [rows, inputs]` times the transposed matrix, plus `bias [outputs]`:
    /// `[rows, outputs]`.
    pub fn multiply(&self, x: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        if inputs == 0 || outputs == 0 {
            return Vec::new();
        }
        assert_eq!(x.len() % inputs, 0, "whole rows");
        let x = ByteRows::new(x, inputs, self.kind.form(), self.instructions);
        let rows = x.rows();
        let mut y: Vec<f32> = Vec::with_capacity(rows * outputs);
        let shared = Shared(y.as_mut_ptr());
        // A few panels per task: enough tasks to share, few enough to be cheap.
        let panels = outputs.div_ceil(PANEL);
        let per_task = (panels / (crew::size() * 4)).clamp(1, 16);
        let tasks = panels.div_ceil(per_task);
        let tiles = rows.div_ceil(ROWS);
        let tiles_kept = (KEPT / (ROWS * inputs)).max(4);
        let task = |scratch: &mut Scratch, task: usize| {
            let shared = &shared;
            let parts = (0..tiles).step_by(tiles_kept).flat_map(|first| {
                (task * per_task..panels.min((task + 1) * per_task))
                    .map(move |index| (first, index))
            });
            for (first, index) in parts {
                let end = rows.min((first + tiles_kept) * ROWS);
                self.multiply_panel(&x, first * ROWS..end, index, scratch);
                let width = PANEL.min(outputs - index * PANEL);
                let bias = bias.map(|bias| &bias[index * PANEL..index * PANEL + width]);
                let (lines, _) = scratch.results.as_chunks_mut::<PANEL>();
                for (results, row) in lines.iter_mut().zip(first * ROWS..) {
                    for (value, bias) in results.iter_mut().zip(bias.into_iter().flatten()) {
                        *value += bias;
                    }
                    // SAFETY: this task alone writes these columns of `y`, and
                    // the rows and columns are inside it.
                    unsafe {
                        let to = shared.at(row * outputs + index * PANEL);
                        if width == PANEL {
                            // A few vectors instead of a call.
                            to.cast::<[f32; PANEL]>().write_unaligned(*results);
                        } else {
                            to.copy_from_nonoverlapping(results.as_ptr(), width);
                        }
                    }
                }
            }
        };
        if tasks == 1 || rows * inputs * outputs < 1 << 17 {
            let mut scratch = Scratch::default();
            (0..tasks).for_each(|index| task(&mut scratch, index));
        } else {
            crew::each_with(tasks, Scratch::default, task);
        }
        // SAFETY: the tasks have written every column of every row.
        unsafe { y.set_len(rows * outputs) };
        y
    }

    /// Whole tiles of rows times one panel, into the scratch's results.
    fn multiply_panel(
        &self,
        x: &ByteRows,
        rows: Range<usize>,
        index: usize,
        scratch: &mut Scratch,
    ) {
        let Scratch { results, unpacked } = scratch;
        results.clear();
        results.resize(rows.len() * PANEL, 0.0);
        let lines = self.panel_bytes() / size_of::<Line>();
        let panel = bytes(&self.panels[index * lines..(index + 1) * lines]);
        let blocks = self.inputs.div_ceil(BLOCK);
        let keep_nibbles = rows.len() <= ROWS && kernel::takes_nibbles(self.instructions);
        for (number, chunk) in panel.chunks(self.kind.chunk_bytes(CHUNK)).enumerate() {
            let first = number * CHUNK;
            let count = CHUNK.min(blocks - first);
            let chunk = panel::unpack(
                self.kind,
                self.instructions,
                chunk,
                count,
                keep_nibbles,
                unpacked,
            );
            let tiles = results.chunks_mut(ROWS * PANEL).zip(rows.start / ROWS..);
            for (results, tile) in tiles {
                let tile = x.tile(tile, first, count);
                kernel::run(self.instructions, self.kind.form(), &tile, &chunk, results);
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    /// `[rows][32]`.
    results: Vec<f32>,
    unpacked: Box<Unpacked>,
}

const fn bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: lines are arrays of bytes without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

const fn bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: lines are arrays of bytes without padding, and any byte is one.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}
