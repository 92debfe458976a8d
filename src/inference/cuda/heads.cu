// Heads: bias, norm and rope; queries go to a tensor, keys and values to their
// places. A warp per head of a row.

extern "C" __global__ void __launch_bounds__(128)
place(const T *qkv, const T *bias, const T *query_norm, const T *key_norm, float eps, const float *cosines, const float *sines,
      const u32 *positions, int half, const u32 *places, T *query, T *keys, T *values, int rows) {
  __shared__ float buffer[4][HEAD];
  const int heads = QUERIES + 2 * KEYS;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const u64 index = (u64)blockIdx.x * 4 + warp;
  if (index >= (u64)rows * heads) return;
  const int row = index / heads, head = index % heads;
  const u32 *from = (const u32 *)(qkv + index * HEAD);
  float *x = buffer[warp];
  float sum = 0;
  for (int e = lane; e < HEAD / 2; e += 32) {
    u32 both = from[e];
    float a = low(both), b = high(both);
    if (bias) {
      u32 more = ((const u32 *)(bias + head * HEAD))[e];
      a += low(more);
      b += high(more);
    }
    x[2 * e] = a;
    x[2 * e + 1] = b;
    sum += a * a + b * b;
  }
  const bool is_query = head < QUERIES, is_key = !is_query && head < QUERIES + KEYS;
  const T *norm = is_query ? query_norm : is_key ? key_norm : nullptr;
  __syncwarp();
  if (norm) {
    float factor = rsqrtf(warp_sum(sum) / HEAD + eps);
    for (int e = lane; e < HEAD; e += 32) x[e] *= factor * wide(norm[e]);
    __syncwarp();
  }
  T *to = is_query ? query + ((u64)row * QUERIES + head) * HEAD
          : is_key ? keys + ((u64)places[row] * KEYS + head - QUERIES) * HEAD
                   : values + ((u64)places[row] * KEYS + head - QUERIES - KEYS) * HEAD;
  const int turned = is_query || is_key ? half : 0;
  const u64 angle = turned ? (u64)positions[row] * half : 0;
  const float *c = cosines + angle, *s = sines + angle;
  for (int e = lane; e < turned; e += 32) {
    float a = x[e], b = x[e + turned], cosine = c[e], sine = s[e];
    x[e] = a * cosine - b * sine;
    x[e + turned] = b * cosine + a * sine;
  }
  __syncwarp();
  for (int e = lane; e < HEAD / 2; e += 32) ((u32 *)to)[e] = pack(x[2 * e], x[2 * e + 1]);
}
