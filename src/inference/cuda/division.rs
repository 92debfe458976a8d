/// Fewer steps of inputs are not worth a block of their own.
const LEAST_STEPS: usize = 7;

/// How a product is divided among blocks: each takes a column of 128 outputs,
/// or a part of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// The first columns, which are not divided.
    pub whole: usize,
    /// Parts of each of the others.
    pub parts: usize,
    /// Steps of inputs of a part.
    pub chunk: usize,
    /// Blocks for each tile of rows.
    pub blocks: usize,
}

impl Division {
    /// Divides `columns` for each of `row_tiles` so that all multiprocessors
    /// are busy to the end: few columns wholly, `resident` blocks on each
    /// multiprocessor; of many the last ones, which would leave most idle.
    pub fn new(
        columns: usize,
        row_tiles: usize,
        steps: usize,
        processors: usize,
        resident: usize,
    ) -> Self {
        let undivided = Self {
            whole: columns,
            parts: 1,
            chunk: steps,
            blocks: columns,
        };
        let turns = columns * row_tiles / processors;
        let whole = turns * processors / row_tiles;
        let others = (columns - whole) * row_tiles;
        let wanted = match turns {
            _ if others == 0 => return undivided,
            0 => processors * resident / others,
            1 | 2 => processors / others,
            // The ends of so many turns are short.
            _ => return undivided,
        };
        let most = steps / LEAST_STEPS;
        let chunk = steps.div_ceil(wanted.min(most).max(1)).max(1);
        match steps.div_ceil(chunk) {
            0 | 1 => undivided,
            parts => Self {
                whole,
                parts,
                chunk,
                blocks: whole + (columns - whole) * parts,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_multiprocessor_is_busy_to_the_end() {
        // Columns, tiles of rows, steps, resident blocks: shapes of Qwen2.5-7B
        // and others on 132 multiprocessors.
        for (columns, row_tiles, steps, resident, expected) in [
            (36, 1, 56, 2, (0, 7, 8)),
            (28, 1, 56, 3, (0, 8, 7)),
            (28, 1, 296, 2, (0, 9, 33)),
            (296, 1, 56, 2, (264, 4, 14)),
            (296, 2, 56, 2, (296, 1, 56)),
            (172, 1, 32, 2, (132, 3, 11)),
            (224, 1, 64, 2, (224, 1, 64)),
            (1188, 1, 56, 2, (1188, 1, 56)),
            (264, 1, 56, 2, (264, 1, 56)),
            (1, 1, 1, 3, (1, 1, 1)),
        ] {
            let found = Division::new(columns, row_tiles, steps, 132, resident);
            assert_eq!(
                (found.whole, found.parts, found.chunk),
                expected,
                "{columns} columns of {steps} steps"
            );
            assert_eq!(
                found.blocks,
                found.whole + (columns - found.whole) * found.parts
            );
            // The parts cover all steps, and none of them is empty.
            assert!(found.parts * found.chunk >= steps);
            assert!((found.parts - 1) * found.chunk < steps);
        }
    }
}
