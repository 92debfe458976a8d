use candle_core::quantized::GgmlDType;
use serde::{Deserialize, Serialize};

/// Outputs whose weights lie together.
pub const PANEL: usize = 32;

/// Inputs that share a scale of the activations.
pub const BLOCK: usize = 32;

/// Blocks that are unpacked together: the large blocks of the K formats.
pub const CHUNK: usize = 8;

/// Formats of blocks that our kernels multiply by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockKind {
    /// 8 bits; a scale for 32 weights.
    Q8_0,
    /// 4 bits; a scale for 32 weights.
    Q4_0,
    /// 4 bits; scale and minimum of 6 bits for 32 weights.
    Q4K,
    /// 5 bits; scale and minimum of 6 bits for 32 weights.
    Q5K,
    /// 6 bits; a scale of 8 bits for 16 weights.
    Q6K,
}

/// What a sum of products of codes needs to become a sum of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Codes of 8 bits, 128 more than the weights.
    Wide,
    /// Codes of 4 bits, 8 more than the weights.
    Narrow,
    /// Codes of 6 bits, 32 more than the weights; scales for 16 weights.
    Halves,
    /// Weights are codes, scaled, and a minimum.
    Minimum,
}

impl BlockKind {
    /// The kind of ggml's format, if there is one.
    pub const fn of(kind: GgmlDType) -> Option<Self> {
        match kind {
            GgmlDType::Q8_0 => Some(Self::Q8_0),
            GgmlDType::Q4_0 => Some(Self::Q4_0),
            GgmlDType::Q4K => Some(Self::Q4K),
            GgmlDType::Q5K => Some(Self::Q5K),
            GgmlDType::Q6K => Some(Self::Q6K),
            _ => None,
        }
    }

    /// ggml's format.
    pub const fn ggml(self) -> GgmlDType {
        match self {
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }

    /// How sums of codes are used.
    pub const fn form(self) -> Form {
        match self {
            Self::Q8_0 => Form::Wide,
            Self::Q4_0 => Form::Narrow,
            Self::Q4K | Self::Q5K => Form::Minimum,
            Self::Q6K => Form::Halves,
        }
    }

    /// Bytes of the scales and minima that a chunk of `blocks` blocks of a
    /// panel begins with.
    pub const fn scale_bytes(self, blocks: usize) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 => 2 * PANEL * blocks,
            Self::Q4K | Self::Q5K => 4 * PANEL + 2 * PANEL * blocks,
            Self::Q6K => 2 * PANEL + 2 * PANEL * blocks,
        }
    }

    /// Bytes of the codes of a block of a panel.
    pub const fn code_bytes(self) -> usize {
        let bits = match self {
            Self::Q8_0 => 8,
            Self::Q4_0 | Self::Q4K => 4,
            Self::Q5K => 5,
            Self::Q6K => 6,
        };
        PANEL * BLOCK * bits / 8
    }

    /// Bytes of a chunk of `blocks` blocks of a panel; a multiple of 64.
    pub const fn chunk_bytes(self, blocks: usize) -> usize {
        self.scale_bytes(blocks) + self.code_bytes() * blocks
    }

    /// Bytes of a panel of this many blocks.
    pub const fn panel_bytes(self, blocks: usize) -> usize {
        let rest = blocks % CHUNK;
        let last = if rest == 0 { 0 } else { self.chunk_bytes(rest) };
        blocks / CHUNK * self.chunk_bytes(CHUNK) + last
    }
}
