__device__ __forceinline__ void eight(float (&to)[8], uint4 from) {
  to[0] = low(from.x);
  to[1] = high(from.x);
  to[2] = low(from.y);
  to[3] = high(from.y);
  to[4] = low(from.z);
  to[5] = high(from.z);
  to[6] = low(from.w);
  to[7] = high(from.w);
}

__device__ __forceinline__ uint4 packed(const float (&from)[8]) {
  return {pack(from[0], from[1]), pack(from[2], from[3]), pack(from[4], from[5]), pack(from[6], from[7])};
}

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
  extern __shared__ __align__(16) float values[];
  __shared__ float buffer[8];
  const u64 start = (u64)blockIdx.x * hidden;
  const int chunks = hidden / 8;
  const uint4 *from = (const uint4 *)(x + start), *more = (const uint4 *)(added + start);
  float factor = 1;
  if (post) {
    float squares = 0;
    for (int c = threadIdx.x; c < chunks; c += 256) {
      float a[8];
      eight(a, more[c]);
      for (int i = 0; i < 8; i++) squares += a[i] * a[i];
    }
    factor = rsqrtf(block_sum(squares, buffer) / hidden + eps);
  }
  float squares = 0;
  for (int c = threadIdx.x; c < chunks; c += 256) {
    float a[8], b[8];
    eight(a, more[c]);
    eight(b, from[c]);
    if (post) {
      float w[8];
      eight(w, ((const uint4 *)post)[c]);
      for (int i = 0; i < 8; i++) a[i] *= factor * w[i];
    }
    for (int i = 0; i < 8; i++) b[i] += a[i] * scale;
    const uint4 sum = packed(b);
    ((uint4 *)(summed + start))[c] = sum;
    eight(b, sum);
    for (int i = 0; i < 8; i++) squares += b[i] * b[i];
    ((float4 *)values)[2 * c] = {b[0], b[1], b[2], b[3]};
    ((float4 *)values)[2 * c + 1] = {b[4], b[5], b[6], b[7]};
  }
  factor = rsqrtf(block_sum(squares, buffer) / hidden + eps);
  for (int c = threadIdx.x; c < chunks; c += 256) {
    float w[8], b[8];
    eight(w, ((const uint4 *)weights)[c]);
    for (int i = 0; i < 8; i++) b[i] = values[8 * c + i] * factor * w[i];
    ((uint4 *)(normed + start))[c] = packed(b);
  }
}

// The largest of each row of logits, the first of equals; NONE where one is
// not finite. A block per row.
extern "C" __global__ void __launch_bounds__(1024) greedy(const T *logits, u32 *tokens, int vocab) {
  __shared__ float tops[32];
  __shared__ u32 places[32];
  const T *row = logits + (u64)blockIdx.x * vocab;
  float top = -INFINITE;
  u32 place = NONE;
  bool broken = false;
  auto look = [&](float x, u32 at) {
    // Neither NaN nor an infinity is less than the largest float.
    broken |= !(fabsf(x) < INFINITE);
    if (x > top) {
      top = x;
      place = at;
    }
  };
  const int whole = vocab % 8 == 0 ? vocab / 8 : 0;
  for (int c = threadIdx.x; c < whole; c += 1024) {
    float x[8];
    eight(x, ((const uint4 *)row)[c]);
    for (int i = 0; i < 8; i++) look(x[i], 8 * c + i);
  }
  for (int at = whole * 8 + threadIdx.x; at < vocab; at += 1024) look(wide(row[at]), at);
  auto better = [&](float x, u32 at) {
    if (x > top || (x == top && at < place)) {
      top = x;
      place = at;
    }
  };
  for (int step = 16; step > 0; step /= 2) {
    float x = __shfl_xor_sync(FULL, top, step);
    u32 at = __shfl_xor_sync(FULL, place, step);
    better(x, at);
  }
  if (threadIdx.x % 32 == 0) {
    tops[threadIdx.x / 32] = top;
    places[threadIdx.x / 32] = place;
  }
  broken = __syncthreads_or(broken);
  if (threadIdx.x > 0) return;
  for (int w = 1; w < 32; w++) better(tops[w], places[w]);
  tokens[blockIdx.x] = broken ? NONE : place;
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
