// Products with quantised weights, [outputs, inputs] of 8 or 4 bits, in tiles
// of 16 outputs by 64 inputs (`tiles.rs` writes them). In a tile every lane of
// a warp finds the weights of its fragments of `mma.m16n8k16` side by side:
//
//   8 bits: [2 halves][32 lanes][2 steps of 16 inputs][8] bytes, 128 added
//   4 bits: [32 lanes][4 steps][8] nibbles, the first lowest
//
// where the 8 weights are those of outputs r, r, r+8, r+8, r, r, r+8, r+8 at
// inputs c, c+1, c, c+1, c+8, c+9, c+8, c+9 for r = lane / 4, c = lane % 4 * 2.
// Scales are f16, per 32 inputs: [2 halves][8 outputs](r, r+8); with 4 bits
// what is to be subtracted follows in the same order.

__device__ __forceinline__ float half_float(u32 both, int upper) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"((T)(upper ? both >> 16 : both & 0xffff)));
  return f;
}

// A float between 1 and 2 whose bits 8 to 15 are a byte, or 8 to 11 a nibble:
// q is 32768 times what it is above 1, and one multiplication with addition
// makes the weight of it.
__device__ __forceinline__ float byte_of(u32 word, int at) {
  return __uint_as_float(__byte_perm(word, 0x3F800000, 0x7604 + (at << 4)));
}
__device__ __forceinline__ float nibble_of(u32 word, int at) {
  u32 moved = at < 2 ? word << (8 - 4 * at) : word >> (4 * at - 8);
  return __uint_as_float((moved & 0xF00) | 0x3F800000);
}

// The fragment of one step of 16 inputs: weight = value * factor + offset.
__device__ __forceinline__ void fragment8(u32 (&a)[4], u32 first, u32 second, const float (&factor)[2], const float (&offset)[2]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const u32 word = i < 2 ? first : second;
    const int r = i & 1, at = (i & 1) * 2;
    a[i] = pack(byte_of(word, at) * factor[r] + offset[r], byte_of(word, at + 1) * factor[r] + offset[r]);
  }
}
__device__ __forceinline__ void fragment4(u32 (&a)[4], u32 word, const float (&factor)[2], const float (&offset)[2]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int r = i & 1;
    a[i] = pack(nibble_of(word, 2 * i) * factor[r] + offset[r], nibble_of(word, 2 * i + 1) * factor[r] + offset[r]);
  }
}

template <int BITS> struct Tiles {
  static constexpr int BYTES = 16 * 64 * BITS / 8;
  static constexpr int SCALES = BITS == 8 ? 64 : 128;
};

// The fragments of the two steps of half a tile.
template <int BITS>
__device__ __forceinline__ void fragments(u32 (&a)[2][4], const unsigned char *tile, const unsigned char *scale, int half, int lane) {
  u32 both = ((const u32 *)scale)[half * 8 + lane / 4];
  float factor[2] = {half_float(both, 0) * 32768, half_float(both, 1) * 32768}, offset[2];
  if (BITS == 8) {
    offset[0] = factor[0] * (-32896.0f / 32768);
    offset[1] = factor[1] * (-32896.0f / 32768);
    uint4 words = ((const uint4 *)tile)[half * 32 + lane];
    fragment8(a[0], words.x, words.y, factor, offset);
    fragment8(a[1], words.z, words.w, factor, offset);
  } else {
    both = ((const u32 *)scale)[16 + half * 8 + lane / 4];
    offset[0] = -factor[0] - half_float(both, 0);
    offset[1] = -factor[1] - half_float(both, 1);
    uint2 words = ((const uint2 *)tile)[lane * 2 + half];
    fragment4(a[0], words.x, factor, offset);
    fragment4(a[1], words.y, factor, offset);
  }
}

// x [rows, inputs] by the weights, to `out` [rows, outputs]. A block takes 128
// outputs, ROWS rows and one part of the inputs; a warp 32 outputs, whose
// weights it fetches for itself. Where the inputs are in several parts, the
// sums go to `parts` [parts, rows, outputs], for `sum_parts`.
#define STAGES 4
#define OUTPUTS 128

template <int BITS, int ROWS>
__device__ __forceinline__ void product(const T *x, const unsigned char *tiles, const unsigned char *scales, T *out, float *parts, int rows,
                                        int outputs, int inputs, int chunk) {
  constexpr int WIDE = 64 + 8;
  constexpr int WEIGHTS = Tiles<BITS>::BYTES, FACTORS = Tiles<BITS>::SCALES, STAGE = 2 * (WEIGHTS + FACTORS);
  extern __shared__ __align__(16) unsigned char stages[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first_row = blockIdx.x * ROWS, first_output = blockIdx.y * OUTPUTS, steps = inputs / 64, strips = (outputs + 15) / 16;
  const int begin = blockIdx.z * chunk, end = min(steps, begin + chunk);
  T *sx = (T *)stages;
  unsigned char *ring = stages + STAGES * ROWS * WIDE * 2 + warp * STAGES * STAGE;
  const int first = first_output / 16 + warp * 2;
  const u64 strip[2] = {(u64)min(first, strips - 1) * steps, (u64)min(first + 1, strips - 1) * steps};

  auto load = [&](int step) {
    if (step < end) {
      unsigned char *stage = ring + (step - begin) % STAGES * STAGE;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const unsigned char *from = tiles + (strip[i] + step) * WEIGHTS + lane * 16;
#pragma unroll
        for (int c = 0; c < WEIGHTS; c += 512) fetch(stage + i * WEIGHTS + c + lane * 16, from + c, true);
      }
      constexpr int PER = FACTORS / 16;
      if (lane < 2 * PER) fetch(stage + 2 * WEIGHTS + lane * 16, scales + (strip[lane / PER] + step) * FACTORS + lane % PER * 16, true);
      T *to = sx + (step - begin) % STAGES * ROWS * WIDE;
#pragma unroll
      for (int c = threadIdx.x; c < ROWS * 8; c += 128) {
        const int r = c / 8, at = c % 8 * 8;
        const bool valid = first_row + r < rows;
        fetch(to + r * WIDE + at, x + (valid ? (u64)(first_row + r) * inputs + step * 64 + at : 0), valid);
      }
    }
    fetched();
  };
#pragma unroll
  for (int i = 0; i < STAGES - 1; i++) load(begin + i);
  float y[2][ROWS / 8][4];
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++) y[i][n][0] = y[i][n][1] = y[i][n][2] = y[i][n][3] = 0;

  for (int step = begin; step < end; step++) {
    await<STAGES - 2>();
    __syncthreads();
    load(step + STAGES - 1);
    const unsigned char *stage = ring + (step - begin) % STAGES * STAGE;
    const T *b_at = sx + ((step - begin) % STAGES * ROWS + (lane >> 4) * 8 + (lane & 7)) * WIDE + ((lane >> 3) & 1) * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      u32 a[2][2][4];
      fragments<BITS>(a[0], stage, stage + 2 * WEIGHTS, half, lane);
      fragments<BITS>(a[1], stage + WEIGHTS, stage + 2 * WEIGHTS + FACTORS, half, lane);
#pragma unroll
      for (int k = 0; k < 2; k++) {
#pragma unroll
        for (int n = 0; n < ROWS / 16; n++) {
          u32 b[4];
          matrices(b, b_at + n * 16 * WIDE + half * 32 + k * 16);
#pragma unroll
          for (int i = 0; i < 2; i++) {
            multiply(y[i][2 * n], a[i][k], b[0], b[1]);
            multiply(y[i][2 * n + 1], a[i][k], b[2], b[3]);
          }
        }
      }
    }
  }
  await<0>();
#pragma unroll
  for (int i = 0; i < 2; i++) {
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int o = first_output + (warp * 2 + i) * 16 + lane / 4 + j / 2 * 8, r = first_row + n * 8 + lane % 4 * 2 + j % 2;
        if (o >= outputs || r >= rows) continue;
        if (gridDim.z == 1) out[(u64)r * outputs + o] = narrow(y[i][n][j]);
        else parts[((u64)blockIdx.z * rows + r) * outputs + o] = y[i][n][j];
      }
    }
  }
}

#define PRODUCT(BITS, ROWS)                                                                                                             \
  extern "C" __global__ void __launch_bounds__(128)                                                                                     \
  product_##BITS##_##ROWS(const T *x, const unsigned char *tiles, const unsigned char *scales, T *out, float *parts, int rows,          \
                          int outputs, int inputs, int chunk) {                                                                         \
    product<BITS, ROWS>(x, tiles, scales, out, parts, rows, outputs, inputs, chunk);                                                    \
  }
PRODUCT(8, 16)
PRODUCT(8, 32)
PRODUCT(8, 64)
PRODUCT(4, 16)
PRODUCT(4, 32)
PRODUCT(4, 64)

// The sum of the parts of a product of `size` elements, a multiple of 4.
extern "C" __global__ void __launch_bounds__(256) sum_parts(const float *parts, T *out, int count, int size) {
  const int at = (blockIdx.x * 256 + threadIdx.x) * 4;
  if (at >= size) return;
  float4 sum = {0, 0, 0, 0};
  for (int p = 0; p < count; p++) {
    const float4 more = *(const float4 *)(parts + (u64)p * size + at);
    sum.x += more.x;
    sum.y += more.y;
    sum.z += more.z;
    sum.w += more.w;
  }
  *(uint2 *)(out + at) = {pack(sum.x, sum.y), pack(sum.z, sum.w)};
}

// The weights as elements, [outputs, inputs]; a warp per tile.
template <int BITS>
__device__ __forceinline__ void expand(const unsigned char *tiles, const unsigned char *scales, T *out, int outputs, int inputs) {
  __shared__ __align__(16) T rows[4][16][64 + 8];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, steps = inputs / 64;
  const u64 tile = (u64)blockIdx.x * 4 + warp;
  if (tile >= (u64)((outputs + 15) / 16) * steps) return;
  const int r = lane / 4, c = lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    u32 a[2][4];
    fragments<BITS>(a, tiles + tile * Tiles<BITS>::BYTES, scales + tile * Tiles<BITS>::SCALES, half, lane);
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
      for (int i = 0; i < 4; i++) *(u32 *)&rows[warp][r + i % 2 * 8][half * 32 + k * 16 + i / 2 * 8 + c] = a[k][i];
  }
  __syncwarp();
  const int strip = tile / steps, step = tile % steps;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int row = i * 4 + lane / 8, at = lane % 8 * 8, output = strip * 16 + row;
    if (output < outputs) *(uint4 *)(out + (u64)output * inputs + step * 64 + at) = *(uint4 *)&rows[warp][row][at];
  }
}

extern "C" __global__ void __launch_bounds__(128)
expand_8(const unsigned char *tiles, const unsigned char *scales, T *out, int outputs, int inputs) {
  expand<8>(tiles, scales, out, outputs, inputs);
}
extern "C" __global__ void __launch_bounds__(128)
expand_4(const unsigned char *tiles, const unsigned char *scales, T *out, int outputs, int inputs) {
  expand<4>(tiles, scales, out, outputs, inputs);
}
