// Attention. The query heads that share a key head are rows of one matrix:
// row r is head r % GROUP of token r / GROUP. A block takes a tile of rows of
// one key head through its keys, 64 at a time (FlashAttention-2,
// arXiv:2307.08691).

struct Item {
  u32 row;   // of the pack: the sequence's first
  u32 len;   // rows of the sequence in the pack
  u32 past;  // its tokens before these
  u32 base;  // where its keys begin
  u32 tile;  // the first row of the tile
  u32 first; // the first key; a multiple of 64
  u32 last;  // behind the last key
  u32 part;  // where a partial result goes; NONE: this is all
};

#define TILE 64
#define STRIDE (DIM + 8)

__device__ __forceinline__ T *out_of(T *out, const Item &item, int head, int combined) {
  return out + ((u64)(item.row + combined / GROUP) * QUERIES + head * GROUP + combined % GROUP) * HEAD;
}

// BY_KEYS: 16 rows, and the four warps take a quarter of each tile of keys;
// else 64 rows, 16 for each warp.
template <bool BY_KEYS>
__device__ __forceinline__ void attention(const T *query, const T *keys, const T *values, T *out, float *part_out, float *part_sums,
                                          const Item *items, float scale, float softcap, int window) {
  constexpr int ROWS = BY_KEYS ? 16 : 64;
  constexpr int SEEN = BY_KEYS ? 16 : 64;
  constexpr int CHUNKS = DIM / 8;
  constexpr bool KEPT = DIM <= 128;
  extern __shared__ __align__(16) T shared[];
  T *sq = shared, *sk = sq + ROWS * STRIDE, *sv = sk + 2 * TILE * STRIDE;
  const Item item = items[blockIdx.x];
  const int head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int total = item.len * GROUP, tile = item.tile;

  for (int c = threadIdx.x; c < ROWS * CHUNKS; c += 128) {
    int r = c / CHUNKS, chunk = c % CHUNKS * 8;
    bool valid = tile + r < total && chunk < HEAD;
    fetch(sq + r * STRIDE + chunk, valid ? out_of((T *)query, item, head, tile + r) + chunk : query, valid);
  }
  const int highest = min(total, tile + ROWS) - 1;
  const int first_position = item.past + tile / GROUP, last_position = item.past + highest / GROUP;
  int begin = item.first;
  if (window > 0) begin = max(begin, (first_position - window + 1) / TILE * TILE);
  const int end = min((int)item.last, last_position + 1);
  const int tiles = begin < end ? (end - begin + TILE - 1) / TILE : 0;

  auto load = [&](int t) {
    T *k = sk + (t & 1) * TILE * STRIDE, *v = sv + (t & 1) * TILE * STRIDE;
    for (int c = threadIdx.x; c < TILE * CHUNKS; c += 128) {
      int r = c / CHUNKS, chunk = c % CHUNKS * 8, key = begin + t * TILE + r;
      bool valid = key < end && chunk < HEAD;
      u64 from = valid ? ((u64)(item.base + key) * KEYS + head) * HEAD + chunk : 0;
      fetch(k + r * STRIDE + chunk, keys + from, valid);
      fetch(v + r * STRIDE + chunk, values + from, valid);
    }
  };
  if (tiles > 0) load(0);
  fetched();

  const T *mine = sq + ((BY_KEYS ? 0 : warp * 16) + lane % 16) * STRIDE + lane / 16 * 8;
  u32 q[KEPT ? DIM / 16 : 1][4];
  float o[DIM / 8][4];
  for (int i = 0; i < DIM / 8; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
  float most[2] = {-INFINITE, -INFINITE}, sum[2] = {0, 0};
  const int row = (BY_KEYS ? 0 : warp * 16) + lane / 4;
  const int position[2] = {(int)item.past + (tile + row) / GROUP, (int)item.past + (tile + row + 8) / GROUP};

  for (int t = 0; t < tiles; t++) {
    await<0>();
    __syncthreads();
    if (t + 1 < tiles) load(t + 1);
    fetched();
    if (KEPT && t == 0) {
#pragma unroll
      for (int k = 0; k < (KEPT ? DIM / 16 : 1); k++) matrices(q[k], mine + k * 16);
    }
    const int offset = ((t & 1) * TILE + (BY_KEYS ? warp * 16 : 0)) * STRIDE;
    float s[SEEN / 8][4];
#pragma unroll
    for (int n = 0; n < SEEN / 8; n++) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
    const T *k_at = sk + offset + ((lane >> 4) * 8 + (lane & 7)) * STRIDE + ((lane >> 3) & 1) * 8;
#pragma unroll
    for (int k = 0; k < DIM / 16; k++) {
      if (!KEPT) matrices(q[0], mine + k * 16);
#pragma unroll
      for (int n = 0; n < SEEN / 16; n++) {
        u32 b[4];
        matrices(b, k_at + n * 16 * STRIDE + k * 16);
        multiply(s[2 * n], q[KEPT ? k : 0], b[0], b[1]);
        multiply(s[2 * n + 1], q[KEPT ? k : 0], b[2], b[3]);
      }
    }
    const int key = begin + t * TILE + (BY_KEYS ? warp * 16 : 0) + lane % 4 * 2;
    const bool masked = window > 0 || begin + (t + 1) * TILE > min(end, first_position + 1);
    float tops[2] = {-INFINITE, -INFINITE};
#pragma unroll
    for (int n = 0; n < SEEN / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float x = s[n][i] * scale;
        if (softcap > 0) x = softcap * tanhf(x / softcap);
        x *= LOG2E;
        if (masked) {
          int at = key + n * 8 + (i & 1), here = position[i >> 1];
          if (at > here || at >= end || (window > 0 && at <= here - window)) x = -INFINITE;
        }
        s[n][i] = x;
        tops[i >> 1] = fmaxf(tops[i >> 1], x);
      }
    }
    float shrink[2], by[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      tops[i] = fmaxf(tops[i], __shfl_xor_sync(FULL, tops[i], 1));
      tops[i] = fmaxf(tops[i], __shfl_xor_sync(FULL, tops[i], 2));
      float now = fmaxf(most[i], tops[i]);
      // Nothing seen yet: any number will do but infinity.
      by[i] = now == -INFINITE ? 0 : now;
      shrink[i] = exp2f(most[i] - by[i]);
      most[i] = now;
      sum[i] *= shrink[i];
    }
#pragma unroll
    for (int n = 0; n < SEEN / 8; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        s[n][i] = exp2f(s[n][i] - by[i >> 1]);
        sum[i >> 1] += s[n][i];
      }
    }
#pragma unroll
    for (int d = 0; d < DIM / 8; d++) {
      o[d][0] *= shrink[0];
      o[d][1] *= shrink[0];
      o[d][2] *= shrink[1];
      o[d][3] *= shrink[1];
    }
    const T *v_at = sv + offset + (((lane >> 3) & 1) * 8 + (lane & 7)) * STRIDE + (lane >> 4) * 8;
#pragma unroll
    for (int n = 0; n < SEEN / 16; n++) {
      const u32 p[4] = {pack(s[2 * n][0], s[2 * n][1]), pack(s[2 * n][2], s[2 * n][3]),
                        pack(s[2 * n + 1][0], s[2 * n + 1][1]), pack(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
      for (int d = 0; d < DIM / 16; d++) {
        u32 b[4];
        transposed(b, v_at + n * 16 * STRIDE + d * 16);
        multiply(o[2 * d], p, b[0], b[1]);
        multiply(o[2 * d + 1], p, b[2], b[3]);
      }
    }
  }
  await<0>();
#pragma unroll
  for (int i = 0; i < 2; i++) {
    sum[i] += __shfl_xor_sync(FULL, sum[i], 1);
    sum[i] += __shfl_xor_sync(FULL, sum[i], 2);
  }
  if (!BY_KEYS) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int combined = tile + row + i * 8;
      if (combined >= total) continue;
      float factor = 1 / sum[i];
      T *to = out_of(out, item, head, combined) + lane % 4 * 2;
#pragma unroll
      for (int d = 0; d < DIM / 8; d++)
        if (d * 8 < HEAD) *(u32 *)(to + d * 8) = pack(o[d][2 * i] * factor, o[d][2 * i + 1] * factor);
    }
    return;
  }
  // The warps' results are put together.
  __syncthreads();
  float *results = (float *)sk, *sums = (float *)sq;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    int r = warp * 16 + row + i * 8;
#pragma unroll
    for (int d = 0; d < DIM / 8; d++) {
      results[r * DIM + d * 8 + lane % 4 * 2] = o[d][2 * i];
      results[r * DIM + d * 8 + lane % 4 * 2 + 1] = o[d][2 * i + 1];
    }
    if (lane % 4 == 0) {
      sums[r * 2] = most[i];
      sums[r * 2 + 1] = sum[i];
    }
  }
  __syncthreads();
  for (int e = threadIdx.x; e < 16 * DIM; e += 128) {
    int r = e / DIM, d = e % DIM;
    if (tile + r >= total || d >= HEAD) continue;
    float top = -INFINITE;
    for (int w = 0; w < 4; w++) top = fmaxf(top, sums[(w * 16 + r) * 2]);
    float by = top == -INFINITE ? 0 : top, whole = 0, mixed = 0;
    for (int w = 0; w < 4; w++) {
      float weight = exp2f(sums[(w * 16 + r) * 2] - by);
      whole += weight * sums[(w * 16 + r) * 2 + 1];
      mixed += weight * results[(w * 16 + r) * DIM + d];
    }
    if (item.part == NONE) {
      out_of(out, item, head, tile + r)[d] = narrow(mixed / whole);
    } else {
      u64 at = ((u64)item.part * KEYS + head) * 16 + r;
      part_out[at * HEAD + d] = mixed;
      if (d == 0) {
        part_sums[at * 2] = top;
        part_sums[at * 2 + 1] = whole;
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(128)
attend_by_rows(const T *query, const T *keys, const T *values, T *out, const Item *items, float scale, float softcap, int window) {
  attention<false>(query, keys, values, out, nullptr, nullptr, items, scale, softcap, window);
}

extern "C" __global__ void __launch_bounds__(128)
attend_by_keys(const T *query, const T *keys, const T *values, T *out, float *part_out, float *part_sums, const Item *items, float scale,
               float softcap, int window) {
  attention<true>(query, keys, values, out, part_out, part_sums, items, scale, softcap, window);
}

// Puts partial results of the same rows together: `count` of them follow each
// other, the first is `part`.
extern "C" __global__ void __launch_bounds__(128)
combine(const float *part_out, const float *part_sums, const Item *items, T *out, int count) {
  const Item item = items[blockIdx.x * count];
  const int head = blockIdx.y;
  for (int e = threadIdx.x; e < 16 * HEAD; e += 128) {
    int r = e / HEAD, d = e % HEAD;
    if (item.tile + r >= item.len * GROUP) continue;
    float top = -INFINITE;
    for (int p = 0; p < count; p++) top = fmaxf(top, part_sums[(((u64)(item.part + p) * KEYS + head) * 16 + r) * 2]);
    float by = top == -INFINITE ? 0 : top, whole = 0, mixed = 0;
    for (int p = 0; p < count; p++) {
      u64 at = ((u64)(item.part + p) * KEYS + head) * 16 + r;
      float weight = exp2f(part_sums[at * 2] - by);
      whole += weight * part_sums[at * 2 + 1];
      mixed += weight * part_out[at * HEAD + d];
    }
    out_of(out, item, head, item.tile + r)[d] = narrow(mixed / whole);
  }
}
