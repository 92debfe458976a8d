use candle_core::{DType, Device, Result, Tensor, bail, safetensors::SliceSafetensors};
use memmap2::{Mmap, UncheckedAdvice};
use serde::Deserialize;
use std::{collections::HashMap, fs::File, ops::Range, path::PathBuf};

/// No header is longer, in bytes; the format's own bound.
const LONGEST_HEADER: usize = 100_000_000;

/// Tensors of safetensors files, mapped into memory.
pub struct MappedTensors {
    maps: Vec<Mmap>,
    places: HashMap<String, Place>,
}

/// Where a tensor lies.
struct Place {
    map: usize,
    bytes: Range<usize>,
    /// `None` for types that candle does not have.
    dtype: Option<DType>,
    shape: Vec<usize>,
}

impl MappedTensors {
    /// Maps the files; nothing is read yet but their headers.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut maps = Vec::new();
        let mut places = HashMap::new();
        for path in paths {
            let with_path = |error: candle_core::Error| error.with_path(path);
            let file = File::open(path).map_err(|error| with_path(error.into()))?;
            // SAFETY: mapped files must not change while they are used;
            // weights are written once, and the hub's cache replaces files
            // instead of changing them.
            let map = unsafe { Mmap::map(&file) }.map_err(|error| with_path(error.into()))?;
            check_extents(&map).map_err(with_path)?;
            let found = SliceSafetensors::new(&map).map_err(with_path)?;
            for (name, view) in found.tensors() {
                let start = view.data().as_ptr().addr() - map.as_ptr().addr();
                let place = Place {
                    map: maps.len(),
                    bytes: start..start + view.data().len(),
                    dtype: DType::try_from(view.dtype()).ok(),
                    shape: view.shape().to_vec(),
                };
                places.insert(name, place);
            }
            maps.push(map);
        }
        Ok(Self { maps, places })
    }

    /// All names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&String, &Vec<usize>)> {
        self.places.iter().map(|(name, place)| (name, &place.shape))
    }

    /// The type of a tensor, if candle has it.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.places.get(name)?.dtype
    }

    /// The bytes of a tensor; none when there is no such tensor.
    pub fn bytes(&self, name: &str) -> &[u8] {
        self.places
            .get(name)
            .map_or(&[], |place| &self.maps[place.map][place.bytes.clone()])
    }

    /// A copy of a tensor on the CPU, in its own type.
    ///
    /// # Errors
    /// When there is no such tensor, or candle does not have its type.
    pub fn load(&self, name: &str) -> Result<Tensor> {
        let Some(place) = self.places.get(name) else {
            bail!("there is no tensor {name}");
        };
        let Some(dtype) = place.dtype else {
            bail!("it has a type that is not supported");
        };
        Tensor::from_raw_buffer(self.bytes(name), dtype, &place.shape, &Device::Cpu)
    }

    /// Gives back the memory that reading a tensor has filled: it stays in its
    /// file, and is read again when it is touched.
    pub fn forget(&self, name: &str) {
        if let Some(place) = self.places.get(name) {
            forget(&self.maps[place.map], place.bytes.clone());
        }
    }
}

/// Checks that every tensor ends within the file, and says which does not: the
/// library says no name, and adds up what the header claims before it looks.
fn check_extents(file: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Claim {
        data_offsets: Option<(u64, u64)>,
    }
    let header = file.split_first_chunk::<8>().and_then(|(length, rest)| {
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        rest.split_at_checked(length.min(LONGEST_HEADER + 1))
            .filter(|(header, _)| header.len() <= LONGEST_HEADER)
    });
    let Some((header, data)) = header else {
        bail!("its header is torn, or longer than 100 MB");
    };
    let claims: HashMap<String, Claim> = match serde_json::from_slice(header) {
        Ok(claims) => claims,
        Err(error) => bail!("its header is no table of tensors: {error}"),
    };
    for (name, claim) in claims {
        if let Some((_, end)) = claim.data_offsets
            && end > data.len() as u64
        {
            bail!(
                "the tensor {name} ends at byte {end} of the {} bytes that there are",
                data.len()
            );
        }
    }
    Ok(())
}

/// Takes a range of a mapped file out of this process's memory.
pub fn forget(map: &Mmap, bytes: Range<usize>) {
    // SAFETY: the map is of a file and read only, so nothing is lost.
    let forgotten =
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    if let Err(error) = forgotten {
        tracing::debug!("the memory of a mapped file is not given back: {error}");
    }
}
