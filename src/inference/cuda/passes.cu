// x + scale * norm(added) to `summed`, and its norm to `normed`; a block per
// row. Without `post` what is added is not normed.

__device__ __forceinline__ float block_sum(float x, float *buffer) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) buffer[threadIdx.x / 32] = x;
  __syncthreads();
  float all = 0;
  for (int w = 0; w < blockDim.x / 32; w++) all += buffer[w];
  return all;
}

extern "C" __global__ void __launch_bounds__(256)
add_norm(const T *x, const T *added, const T *post, const T *weights, T *summed, T *normed, int hidden, float eps, float scale) {
  extern __shared__ float values[];
  __shared__ float buffer[8];
  const u64 start = (u64)blockIdx.x * hidden;
  const int pairs = hidden / 2;
  const u32 *from = (const u32 *)(x + start), *more = (const u32 *)(added + start);
  float factor = 1;
  if (post) {
    float squares = 0;
    for (int e = threadIdx.x; e < pairs; e += 256) {
      float a = low(more[e]), b = high(more[e]);
      squares += a * a + b * b;
    }
    factor = rsqrtf(block_sum(squares, buffer) / hidden + eps);
  }
  float squares = 0;
  for (int e = threadIdx.x; e < pairs; e += 256) {
    float a = low(more[e]) * factor, b = high(more[e]) * factor;
    if (post) {
      a *= wide(post[2 * e]);
      b *= wide(post[2 * e + 1]);
    }
    u32 both = pack(low(from[e]) + a * scale, high(from[e]) + b * scale);
    ((u32 *)(summed + start))[e] = both;
    a = low(both);
    b = high(both);
    values[2 * e] = a;
    values[2 * e + 1] = b;
    squares += a * a + b * b;
  }
  factor = rsqrtf(block_sum(squares, buffer) / hidden + eps);
  for (int e = threadIdx.x; e < pairs; e += 256) {
    u32 both = ((const u32 *)weights)[e];
    ((u32 *)(normed + start))[e] = pack(values[2 * e] * factor * low(both), values[2 * e + 1] * factor * high(both));
  }
}

// act(gate) * up, [rows, 2 width] to [rows, width]; width is a multiple of 8.

__device__ __forceinline__ float activated(float x, int kind) {
  if (kind == 0) return x / (1 + __expf(-x));
  if (kind == 1) return 0.5f * x * (1 + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
  return 0.5f * x * (1 + erff(x * 0.7071067811865476f));
}

__device__ __forceinline__ u32 gated_pair(u32 gate, u32 up, int kind) {
  return pack(activated(low(gate), kind) * low(up), activated(high(gate), kind) * high(up));
}

extern "C" __global__ void __launch_bounds__(256) gated(const T *gate_up, T *out, int rows, int width, int kind) {
  const u64 index = (u64)blockIdx.x * 256 + threadIdx.x;
  const int chunks = width / 8;
  if (index >= (u64)rows * chunks) return;
  const u64 row = index / chunks, at = index % chunks * 8;
  uint4 gate = *(const uint4 *)(gate_up + row * 2 * width + at);
  uint4 up = *(const uint4 *)(gate_up + (row * 2 + 1) * width + at);
  uint4 result;
  result.x = gated_pair(gate.x, up.x, kind);
  result.y = gated_pair(gate.y, up.y, kind);
  result.z = gated_pair(gate.z, up.z, kind);
  result.w = gated_pair(gate.w, up.w, kind);
  *(uint4 *)(out + row * width + at) = result;
}
