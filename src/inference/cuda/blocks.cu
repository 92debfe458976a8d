// Products with quantised weights, [outputs, inputs] of 8 or 4 bits, in tiles
// of 16 outputs by 64 inputs (`tiles.rs` writes them). In a tile every lane of
// a warp finds the weights of its fragments of `mma.m16n8k16`, which are those
// of `wgmma.m64k16` too, side by side:
//
//   8 bits: [2 halves][32 lanes][2 steps of 16 inputs][8] bytes, 128 added
//   4 bits: [32 lanes][4 steps][8] nibbles, the first lowest
//
// where the 8 weights are those of outputs r, r, r+8, r+8, r, r, r+8, r+8 at
// inputs c, c+1, c, c+1, c+8, c+9, c+8, c+9 for r = lane / 4, c = lane % 4 * 2;
// of nibbles the first of each pair come first, so that a pair lies 16 bits
// apart. Scales are per 32 inputs: [2 halves][8 outputs](r, r+8), with 8 bits
// as f16; with 4 bits they are elements, 16 times the scale, and what is to be
// subtracted follows in the same order.

__device__ __forceinline__ float half_float(u32 both, int upper) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"((T)(upper ? both >> 16 : both & 0xffff)));
  return f;
}

// A float between 1 and 2 whose bits 8 to 15 are a byte: it is 32768 times
// what it is above 1, and one multiplication with addition makes the weight of
// it.
__device__ __forceinline__ float byte_of(u32 word, int at) {
  return __uint_as_float(__byte_perm(word, 0x3F800000, 0x7604 + (at << 4)));
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

// Elements between 1 and 2 whose highest bits of mantissa are a nibble: exactly
// a 16th of it remains when 1 is taken away.
#if HALF
#define ONES 0x3c003c00
#define MINUS_ONES 0xbc00bc00
#define NIBBLE 6
#else
#define ONES 0x3f803f80
#define MINUS_ONES 0xbf80bf80
#define NIBBLE 3
#endif
__device__ __forceinline__ void fragment4(u32 (&a)[4], u32 word, const u32 (&factor)[2], const u32 (&subtracted)[2]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const u32 moved = 4 * i < NIBBLE ? word << (NIBBLE - 4 * i) : word >> (4 * i - NIBBLE);
    const u32 sixteenth = fused((moved & (0x000f000f << NIBBLE)) | ONES, ONES, MINUS_ONES);
    a[i] = fused(sixteenth, factor[i & 1], subtracted[i & 1] ^ 0x80008000);
  }
}

template <int BITS> struct Tiles {
  static constexpr int BYTES = 16 * 64 * BITS / 8;
  static constexpr int SCALES = BITS == 8 ? 64 : 128;
};

// The fragments of the two steps of half a tile.
template <int BITS>
__device__ __forceinline__ void fragments(u32 (&a)[2][4], const unsigned char *tile, const unsigned char *scale, int half, int lane) {
  const u32 both = ((const u32 *)scale)[half * 8 + lane / 4];
  if (BITS == 8) {
    const float factor[2] = {half_float(both, 0) * 32768, half_float(both, 1) * 32768};
    const float offset[2] = {factor[0] * (-32896.0f / 32768), factor[1] * (-32896.0f / 32768)};
    const uint4 words = ((const uint4 *)tile)[half * 32 + lane];
    fragment8(a[0], words.x, words.y, factor, offset);
    fragment8(a[1], words.z, words.w, factor, offset);
  } else {
    const u32 less = ((const u32 *)scale)[16 + half * 8 + lane / 4];
    const u32 factor[2] = {__byte_perm(both, 0, 0x1010), __byte_perm(both, 0, 0x3232)};
    const u32 subtracted[2] = {__byte_perm(less, 0, 0x1010), __byte_perm(less, 0, 0x3232)};
    const uint2 words = ((const uint2 *)tile)[lane * 2 + half];
    fragment4(a[0], words.x, factor, subtracted);
    fragment4(a[1], words.y, factor, subtracted);
  }
}

// x [rows, inputs] by the weights, to `out` [rows, outputs]. A block takes 128
// outputs (a column), ROWS rows and one part of the inputs; a warp 32 outputs,
// whose weights it fetches for itself. The first `whole` columns are not
// divided, the others into `count` parts of `chunk` steps, whose sums go to
// `parts` [count, rows, outputs of these columns], for `sum_parts`.
//
// What bounds it is how many instructions a step of 64 inputs takes, so that
// addresses are only counted up, and where there are instructions of a whole
// group of four warps (`groups.cu`), one takes the place of 16 and their loads.
// Both read x from rows of 128 bytes, whose pieces of 16 are swapped by the
// lowest bits of the row.
#define STAGES 4
#if WGMMA
// A stage is free only when the group before the last has been multiplied.
#define AHEAD (STAGES - 2)
#else
#define AHEAD (STAGES - 1)
#endif

template <int BITS, int ROWS>
__device__ __forceinline__ void product(const T *x, const unsigned char *tiles, const unsigned char *scales, T *out, float *parts, int rows,
                                        int outputs, int inputs, int whole, int count, int chunk) {
  constexpr int WEIGHTS = Tiles<BITS>::BYTES, FACTORS = Tiles<BITS>::SCALES, STAGE = 2 * (WEIGHTS + FACTORS), ROWS_STAGE = ROWS * 128;
  extern __shared__ __align__(1024) unsigned char stages[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int divided = blockIdx.y - whole, column = divided < 0 ? blockIdx.y : whole + divided / count;
  const int first_row = blockIdx.x * ROWS, steps = inputs / 64, strips = (outputs + 15) / 16, first = (column * 4 + warp) * 2;
  const int part = divided < 0 ? 0 : divided % count, begin = part * chunk, end = divided < 0 ? steps : min(steps, begin + chunk);
  unsigned char *ring = stages + STAGES * ROWS_STAGE + warp * STAGES * STAGE;

  // Where this thread fetches from next: 16 bytes of each strip, of the scales
  // of one, and of every 16th row. Rows that there are not are the last one.
  constexpr int PER = FACTORS / 16, TURNS = ROWS / 16;
  const u64 strip[2] = {(u64)min(first, strips - 1) * steps + begin, (u64)min(first + 1, strips - 1) * steps + begin};
  const unsigned char *weights_at[2] = {tiles + strip[0] * WEIGHTS + lane * 16, tiles + strip[1] * WEIGHTS + lane * 16};
  const unsigned char *scales_at = scales + (lane < PER ? strip[0] : strip[1]) * FACTORS + lane % PER * 16;
  const T *rows_at[TURNS];
#pragma unroll
  for (int i = 0; i < TURNS; i++) rows_at[i] = x + (u64)min(first_row + (int)threadIdx.x / 8 + i * 16, rows - 1) * inputs + begin * 64 + threadIdx.x % 8 * 8;
  const u32 to_ring = address(ring) + lane * 16, to_rows = address(stages) + threadIdx.x / 8 * 128 + ((threadIdx.x ^ threadIdx.x / 8) & 7) * 16;
  int left = end - begin, next = 0;
  auto load = [&]() {
    if (left-- > 0) {
      const u32 to = to_ring + next * STAGE;
#pragma unroll
      for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int c = 0; c < WEIGHTS; c += 512) fetch_to(to + i * WEIGHTS + c, weights_at[i] + c);
        weights_at[i] += WEIGHTS;
      }
      if (lane < 2 * PER) fetch_to(to + 2 * WEIGHTS, scales_at);
      scales_at += FACTORS;
#pragma unroll
      for (int i = 0; i < TURNS; i++) {
        fetch_to(to_rows + next * ROWS_STAGE + i * 2048, rows_at[i]);
        rows_at[i] += 64;
      }
      next = next + 1 == STAGES ? 0 : next + 1;
    }
    fetched();
  };
#pragma unroll
  for (int i = 0; i < AHEAD; i++) load();

  float y[2][ROWS / 8][4];
#if WGMMA
  u32 a[2][2][2][4];
#else
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++) y[i][n][0] = y[i][n][1] = y[i][n][2] = y[i][n][3] = 0;
#endif
  int slot = 0;
  for (int step = begin; step < end; step++) {
    await<AHEAD - 1>();
#if WGMMA
    seen_by_groups();
    await_groups<1>();
#endif
    __syncthreads();
    load();
    const unsigned char *stage = ring + slot * STAGE;
    const u32 b_at = address(stages) + slot * ROWS_STAGE;
    slot = slot + 1 == STAGES ? 0 : slot + 1;
#pragma unroll
    for (int half = 0; half < 2; half++) {
#if WGMMA
      // These fragments were last multiplied a step ago.
      if (half) await_groups<1>();
      u32(&f)[2][2][4] = a[half];
#else
      u32 f[2][2][4];
#endif
      fragments<BITS>(f[0], stage, stage + 2 * WEIGHTS, half, lane);
      fragments<BITS>(f[1], stage + WEIGHTS, stage + 2 * WEIGHTS + FACTORS, half, lane);
#if WGMMA
      begin_groups();
#pragma unroll
      for (int k = 0; k < 2; k++)
#pragma unroll
        for (int i = 0; i < 2; i++) multiply_groups(y[i], f[i][k], rows_of_groups(b_at + half * 64 + k * 32), (step - begin) | half | k);
      commit_groups();
#else
#pragma unroll
      for (int k = 0; k < 2; k++) {
#pragma unroll
        for (int n = 0; n < ROWS / 16; n++) {
          u32 b[4];
          matrices(b, b_at + (n * 16 + (lane >> 4) * 8 + (lane & 7)) * 128 + (((half * 4 + k * 2 + (lane >> 3 & 1)) ^ (lane & 7)) << 4));
#pragma unroll
          for (int i = 0; i < 2; i++) {
            multiply(y[i][2 * n], f[i][k], b[0], b[1]);
            multiply(y[i][2 * n + 1], f[i][k], b[2], b[3]);
          }
        }
      }
#endif
    }
  }
#if WGMMA
  await_groups<0>();
#endif
  await<0>();
  const int o = first * 16 + lane / 4, r = first_row + lane % 4 * 2;
  T *out_at = out + (u64)r * outputs + o;
  const int others = outputs - whole * 128;
  float *part_at = parts + ((u64)part * rows + r) * others + o - whole * 128;
#pragma unroll
  for (int n = 0; n < ROWS / 8; n++) {
#pragma unroll
    for (int j = 0; j < 2; j++) {
      if (r + n * 8 + j < rows) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if (o + i * 8 >= outputs) continue;
          const float value = y[i / 2][n][i % 2 * 2 + j];
          if (divided < 0) out_at[i * 8] = narrow(value);
          else part_at[i * 8] = value;
        }
      }
      out_at += j ? 7 * (u64)outputs : outputs;
      part_at += j ? 7 * (u64)others : others;
    }
  }
}

#define PRODUCT(BITS, ROWS, BLOCKS)                                                                                                     \
  extern "C" __global__ void __launch_bounds__(128, BLOCKS)                                                                             \
  product_##BITS##_##ROWS(const T *x, const unsigned char *tiles, const unsigned char *scales, T *out, float *parts, int rows,          \
                          int outputs, int inputs, int whole, int count, int chunk) {                                                   \
    product<BITS, ROWS>(x, tiles, scales, out, parts, rows, outputs, inputs, whole, count, chunk);                                      \
  }
PRODUCT(8, 16, 4)
PRODUCT(8, 32, 4)
PRODUCT(8, 64, 3)
PRODUCT(4, 16, 4)
PRODUCT(4, 32, 4)
PRODUCT(4, 64, 3)
#if WGMMA
PRODUCT(8, 128, 2)
PRODUCT(4, 128, 2)
#endif

// The sums of the parts of `others` outputs, the last of each row; a multiple
// of 4.
extern "C" __global__ void __launch_bounds__(256) sum_parts(const float *parts, T *out, int rows, int outputs, int others, int count) {
  const int at = (blockIdx.x * 256 + threadIdx.x) * 4, size = rows * others;
  if (at >= size) return;
  float4 sum = {0, 0, 0, 0};
  for (int p = 0; p < count; p++) {
    const float4 more = *(const float4 *)(parts + (u64)p * size + at);
    sum.x += more.x;
    sum.y += more.y;
    sum.z += more.z;
    sum.w += more.w;
  }
  *(uint2 *)(out + (u64)(at / others + 1) * outputs - others + at % others) = {pack(sum.x, sum.y), pack(sum.z, sum.w)};
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
