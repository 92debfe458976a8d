use super::super::attention::Heads;
use candle_core::{
    CudaDevice, CudaStorage, DType, Device, Error, Result, Shape, Storage, Tensor,
    cuda_backend::{
        CudaStorageSlice, WrapErr,
        cudarc::{
            driver::{
                CudaFunction, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg,
                sys::{CUdevice_attribute, CUfunction_attribute},
            },
            nvrtc::{CompileOptions, compile_ptx_with_opts},
        },
    },
};
use std::sync::Arc;

const SOURCE: &str = concat!(
    include_str!("elements.cu"),
    include_str!("heads.cu"),
    include_str!("attention.cu"),
    include_str!("passes.cu"),
    include_str!("groups.cu"),
    include_str!("blocks.cu"),
);

/// Keys of a tile, and columns that keep rows of shared memory apart.
const TILE: usize = 64;
const APART: usize = 8;

/// Widest rows that a block keeps in shared memory as floats.
const WIDEST_ROW: usize = 12_000;

/// What a kernel is given.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// Where a tensor begins.
    Pointer(u64),
    /// A whole number.
    Int(usize),
    /// A number.
    Float(f64),
}

/// A product with quantised weights.
pub struct Product {
    bits: usize,
    /// Rows of a tile of the result.
    pub rows: usize,
    /// The kernel.
    pub function: CudaFunction,
    /// Bytes of shared memory of a block.
    pub shared: usize,
}

/// Our kernels, compiled for a model and a device.
pub struct Kernels {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    heads: Heads,
    dtype: DType,
    /// Multiprocessors of the device.
    pub processors: usize,
    pub place: CudaFunction,
    pub attend_by_rows: CudaFunction,
    pub attend_by_keys: CudaFunction,
    pub combine: CudaFunction,
    pub add_norm: CudaFunction,
    pub gated: CudaFunction,
    pub greedy: CudaFunction,
    pub sum_parts: CudaFunction,
    products: Vec<Product>,
    expand: [CudaFunction; 2],
}

impl Kernels {
    /// Whether there are kernels for this shape.
    pub fn fit(heads: Heads, dtype: DType, hidden: usize, intermediate: usize) -> bool {
        matches!(dtype, DType::BF16 | DType::F16)
            && heads.dim.is_multiple_of(8)
            && heads.dim <= 256
            && heads.keys > 0
            && heads.queries.is_multiple_of(heads.keys)
            && hidden.is_multiple_of(8)
            && hidden <= WIDEST_ROW
            && intermediate.is_multiple_of(8)
    }

    /// Whether a device has the instructions that they need: those of Ampere
    /// and newer.
    pub fn run_on(device: &CudaDevice) -> bool {
        let stream = device.cuda_stream();
        let capability = stream.context().compute_capability();
        capability.is_ok_and(|capability| capability >= (8, 0))
    }

    /// Compiles them.
    ///
    /// # Errors
    /// When the compiler or the device refuses.
    pub fn new(device: &CudaDevice, heads: Heads, dtype: DType) -> Result<Arc<Self>> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let (major, minor) = context.compute_capability().w()?;
        let processors = context
            .attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .w()?;
        let dim = heads.dim.next_multiple_of(16);
        let define = |name: &str, value: usize| format!("-D{name}={value}");
        // What only this generation has is asked for by a letter.
        let hopper = (major, minor) == (9, 0);
        let own = if hopper { "a" } else { "" };
        let options = CompileOptions {
            options: vec![
                format!("--gpu-architecture=compute_{major}{minor}{own}"),
                "--std=c++17".to_owned(),
                define("HALF", usize::from(dtype == DType::F16)),
                define("HEAD", heads.dim),
                define("DIM", dim),
                define("QUERIES", heads.queries),
                define("KEYS", heads.keys),
                define("WGMMA", usize::from(hopper)),
            ],
            name: Some("ragicamp.cu".to_owned()),
            ..CompileOptions::default()
        };
        let module = context
            .load_module(compile_ptx_with_opts(SOURCE, options).w()?)
            .w()?;
        let function = |name: &str, shared: usize| -> Result<CudaFunction> {
            let function = module.load_function(name).w()?;
            // More than 48 KiB are given only to who asks.
            function
                .set_attribute(
                    CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    shared as i32,
                )
                .w()?;
            Ok(function)
        };
        let mut products = Vec::new();
        for bits in [8, 4] {
            for rows in [16, 32, 64, 128] {
                if rows > 64 && !hopper {
                    continue;
                }
                let shared = product_shared(bits, rows);
                let function = function(&format!("product_{bits}_{rows}"), shared)?;
                products.push(Product {
                    bits,
                    rows,
                    function,
                    shared,
                });
            }
        }
        let attention = |rows| attention_shared(rows, dim);
        Ok(Arc::new(Self {
            place: function("place", 0)?,
            attend_by_rows: function("attend_by_rows", attention(64))?,
            attend_by_keys: function("attend_by_keys", attention(16))?,
            combine: function("combine", 0)?,
            add_norm: function("add_norm", WIDEST_ROW * 4)?,
            gated: function("gated", 0)?,
            greedy: function("greedy", 0)?,
            sum_parts: function("sum_parts", 0)?,
            products,
            expand: [function("expand_8", 0)?, function("expand_4", 0)?],
            device: device.clone(),
            stream,
            heads,
            dtype,
            processors: processors.max(1) as usize,
        }))
    }

    /// The heads that they were compiled for.
    pub const fn heads(&self) -> Heads {
        self.heads
    }

    /// The type of elements.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of shared memory that attention takes for tiles of so many rows.
    pub fn attention_shared(&self, rows: usize) -> usize {
        attention_shared(rows, self.heads.dim.next_multiple_of(16))
    }

    /// The product of weights of `bits` for so many rows.
    pub fn product(&self, bits: usize, rows: usize) -> Option<&Product> {
        let mut all = self.products.iter().filter(|known| known.bits == bits);
        let fits = all.clone().find(|known| rows <= known.rows);
        fits.or_else(|| all.next_back())
    }

    /// The kernel that turns weights of `bits` into elements.
    pub const fn expand(&self, bits: usize) -> &CudaFunction {
        &self.expand[if bits == 8 { 0 } else { 1 }]
    }

    /// Room for elements that a kernel is about to write.
    ///
    /// # Errors
    /// When the device has no memory.
    pub fn room(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.room_of(shape, self.dtype)
    }

    /// The same of another type.
    ///
    /// # Errors
    /// When the device has no memory.
    pub fn room_of(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let device = Device::Cuda(self.device.clone());
        // SAFETY: whoever asks for room writes all of it before it is read.
        unsafe { Tensor::empty(shape, dtype, &device) }
    }

    /// Runs a kernel.
    ///
    /// # Errors
    /// When it can not be started.
    pub fn launch(
        &self,
        function: &CudaFunction,
        grid: (usize, usize, usize),
        threads: usize,
        shared: usize,
        arguments: &[Argument],
    ) -> Result<()> {
        enum Raw {
            Pointer(u64),
            Int(i32),
            Float(f32),
        }
        let raw: Vec<Raw> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Pointer(pointer) => Raw::Pointer(*pointer),
                Argument::Int(value) => Raw::Int(*value as i32),
                Argument::Float(value) => Raw::Float(*value as f32),
            })
            .collect();
        let mut builder = self.stream.launch_builder(function);
        for argument in &raw {
            match argument {
                Raw::Pointer(pointer) => builder.arg(pointer),
                Raw::Int(value) => builder.arg(value),
                Raw::Float(value) => builder.arg(value),
            };
        }
        let config = LaunchConfig {
            grid_dim: (grid.0 as u32, grid.1 as u32, grid.2 as u32),
            block_dim: (threads as u32, 1, 1),
            shared_mem_bytes: shared as u32,
        };
        // SAFETY: the arguments are those of the kernel, in its order, and the
        // tensors behind the pointers live until this call returns; memory is
        // given back in the order of the same stream.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }

    /// Copies bytes from one place of the device's memory to another.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        use candle_core::cuda_backend::cudarc::driver::result::memcpy_dtod_async;
        // SAFETY: both ranges lie in tensors that are alive, and do not overlap.
        unsafe { memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }.w()?;
        Ok(())
    }
}

/// Where a tensor's elements begin in the device's memory.
///
/// # Errors
/// When it is not contiguous or not on a GPU.
pub fn pointer(tensor: &Tensor) -> Result<u64> {
    fn start<E>(slice: &CudaSlice<E>, storage: &CudaStorage, offset: usize) -> u64 {
        let stream = storage.device.cuda_stream();
        let (pointer, _guard) = slice.device_ptr(&stream);
        pointer + (offset * size_of::<E>()) as u64
    }
    let (storage, layout) = tensor.storage_and_layout();
    let offset = layout.start_offset();
    if !layout.is_contiguous() {
        return Err(Error::msg("a kernel was given a tensor with gaps"));
    }
    let Storage::Cuda(storage) = &*storage else {
        return Err(Error::msg("a kernel was given a tensor of another device"));
    };
    Ok(match &storage.slice {
        CudaStorageSlice::BF16(slice) => start(slice, storage, offset),
        CudaStorageSlice::F16(slice) => start(slice, storage, offset),
        CudaStorageSlice::F32(slice) => start(slice, storage, offset),
        CudaStorageSlice::U32(slice) => start(slice, storage, offset),
        CudaStorageSlice::U8(slice) => start(slice, storage, offset),
        _ => {
            return Err(Error::msg(
                "a kernel was given elements that it does not know",
            ));
        }
    })
}

/// A tensor for a kernel.
///
/// # Errors
/// As [`pointer`].
pub fn of(tensor: &Tensor) -> Result<Argument> {
    pointer(tensor).map(Argument::Pointer)
}

/// A tensor that may be missing.
///
/// # Errors
/// As [`pointer`].
pub fn of_option(tensor: Option<&Tensor>) -> Result<Argument> {
    tensor.map_or(Ok(Argument::Pointer(0)), of)
}

const fn attention_shared(rows: usize, dim: usize) -> usize {
    (rows + 4 * TILE) * (dim + APART) * 2
}

const fn product_shared(bits: usize, rows: usize) -> usize {
    let (tile, scales) = if bits == 8 { (1024, 64) } else { (512, 128) };
    4 * (8 * (tile + scales) + rows * 128)
}
