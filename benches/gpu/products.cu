// Products of few rows with quantised weights on a GPU: every shape of
// Qwen2.5-7B, 8 and 4 bits, beside the definition in f32. Prints microseconds,
// with the second pass where inputs are in parts, for the best division: so many
// columns of 128 outputs whole, the others in so many parts; with ALL=1 for
// every division.
//
//   nvcc -O3 -std=c++17 -DWGMMA=1 -gencode=arch=compute_90a,code=sm_90a -o products benches/gpu/products.cu && ./products
//
// WGMMA=0 is what GPUs before Hopper run, HALF=1 computes in f16. Exits with 1
// when a product is wrong. Several copies of the weights take turns, so that
// they come from memory.
#ifndef HALF
#define HALF 0
#endif
#define HEAD 128
#define DIM 128
#define QUERIES 28
#define KEYS 4
#include "../../src/inference/cuda/elements.cu"
#include "../../src/inference/cuda/groups.cu"
#include "../../src/inference/cuda/blocks.cu"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <vector>

#define CHECK(call)                                                                                                                     \
  do {                                                                                                                                  \
    const cudaError_t error = (call);                                                                                                   \
    if (error != cudaSuccess) {                                                                                                         \
      fprintf(stderr, "%s: %s\n", #call, cudaGetErrorString(error));                                                                    \
      exit(1);                                                                                                                          \
    }                                                                                                                                   \
  } while (0)

constexpr int CHECKED = 512, MOST_ROWS = 128, MOST_PARTS = 16;

struct Division {
  int whole, count, chunk;
};
enum Filling { BYTES, ACTIVATIONS, HALVES, ELEMENT_SCALES };

__device__ u32 mixed(u32 x) {
  x *= 2654435761u;
  x ^= x >> 15;
  x *= 2246822519u;
  return x ^ x >> 13;
}

__global__ void fill(void *to, size_t count, Filling what) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) {
    const u32 hash = mixed((u32)i + what);
    const float x = (hash & 0xffff) / 65536.0f - 0.5f, scale = 0.001f + fabsf(x) * 0.001f;
    T half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(scale));
    if (what == BYTES) ((unsigned char *)to)[i] = hash >> 8;
    else ((T *)to)[i] = what == ACTIVATIONS ? narrow(x) : what == HALVES ? half : narrow(scale);
  }
}

// The last outputs of each row by the definition of tiles; a block for one.
__global__ void reference(const T *x, const unsigned char *tiles, const unsigned char *scales, float *to, int outputs, int inputs, int bits) {
  const int output = outputs - CHECKED + blockIdx.x, row = output % 16, steps = inputs / 64;
  float sum = 0;
  for (int k = threadIdx.x; k < inputs; k += 32) {
    const int step = k / 64, half = k % 64 / 32, in_half = k % 32, quarter = half * 2 + in_half / 16;
    const int lane = row % 8 * 4 + in_half % 8 / 2, at = in_half % 16 / 8 * 4 + row / 8 * 2 + in_half % 2;
    const size_t number = (size_t)(output / 16) * steps + step;
    const unsigned char *tile = tiles + number * 128 * bits;
    const T *scale = (const T *)(scales + number * (bits == 8 ? 64 : 128)) + half * 16 + row % 8 * 2 + row / 8;
    float weight;
    if (bits == 8) {
      weight = ((int)tile[half * 512 + lane * 16 + quarter % 2 * 8 + at] - 128) * half_float(*scale, 0);
    } else {
      const int nibble = at % 2 * 4 + at / 2;
      weight = (tile[lane * 16 + quarter * 4 + nibble / 2] >> nibble % 2 * 4 & 15) / 16.0f * wide(*scale) - wide(scale[32]);
    }
    sum += weight * wide(x[(size_t)blockIdx.y * inputs + k]);
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) to[(size_t)blockIdx.y * CHECKED + blockIdx.x] = sum;
}

__global__ void widened(const T *from, float *to, int outputs) {
  for (int i = threadIdx.x; i < CHECKED; i += blockDim.x)
    to[(size_t)blockIdx.x * CHECKED + i] = wide(from[(size_t)blockIdx.x * outputs + outputs - CHECKED + i]);
}

struct Product {
  int bits, rows, shared;
  const void *function;
};

int main() {
  std::vector<Product> products;
#define ADD(BITS, ROWS)                                                                                                                 \
  products.push_back({BITS, ROWS, STAGES * (8 * (Tiles<BITS>::BYTES + Tiles<BITS>::SCALES) + ROWS * 128), (const void *)product_##BITS##_##ROWS});
  ADD(8, 16) ADD(8, 32) ADD(8, 64) ADD(4, 16) ADD(4, 32) ADD(4, 64)
#if WGMMA
  ADD(8, 128) ADD(4, 128)
#endif
  int processors;
  CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  cudaEvent_t before, after;
  CHECK(cudaEventCreate(&before));
  CHECK(cudaEventCreate(&after));
  bool is_wrong = false;
  printf("| product | outputs | inputs | rows | bits | us | whole | parts | TB/s of weights | error |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
  const struct {
    const char *name;
    int outputs, inputs;
  } shapes[] = {{"queries, keys, values", 4608, 3584}, {"output", 3584, 3584}, {"gate and up", 37888, 3584}, {"down", 3584, 18944}, {"head", 152064, 3584}, {"gate and up of Llama-3-8B", 28672, 4096}, {"gate and up of Qwen2.5-3B", 22016, 2048}};
  for (auto &shape : shapes) {
    int outputs = shape.outputs, inputs = shape.inputs, steps = inputs / 64, columns = (outputs + 127) / 128;
    const size_t tiles = (size_t)(outputs / 16) * steps;
    const int copies = (int)std::min<size_t>(12, 300'000'000 / (tiles * 1024) + 1);
    unsigned char *weights, *scales;
    T *x, *out;
    float *parts, *expected, *found;
    CHECK(cudaMalloc(&weights, tiles * 1024 * copies));
    CHECK(cudaMalloc(&scales, tiles * 128 * copies));
    CHECK(cudaMalloc(&x, (size_t)MOST_ROWS * inputs * 2));
    CHECK(cudaMalloc(&out, (size_t)MOST_ROWS * outputs * 2));
    CHECK(cudaMalloc(&parts, (size_t)MOST_PARTS * MOST_ROWS * outputs * 4));
    CHECK(cudaMalloc(&expected, MOST_ROWS * CHECKED * 4));
    CHECK(cudaMalloc(&found, MOST_ROWS * CHECKED * 4));
    fill<<<1024, 256>>>(weights, tiles * 1024 * copies, BYTES);
    fill<<<1024, 256>>>(x, (size_t)MOST_ROWS * inputs, ACTIVATIONS);
    for (auto &product : products) {
      int rows = product.rows, bits = product.bits;
      CHECK(cudaFuncSetAttribute(product.function, cudaFuncAttributeMaxDynamicSharedMemorySize, product.shared));
      const size_t tile = 128 * bits, scale = bits == 8 ? 64 : 128;
      fill<<<1024, 256>>>(scales, tiles * scale * copies / 2, bits == 8 ? HALVES : ELEMENT_SCALES);
      reference<<<dim3(CHECKED, rows), 32>>>(x, weights, scales, expected, outputs, inputs, bits);
      double best = INFINITY, error = 0;
      Division division = {columns, 1, steps};
      for (int each = columns / processors, w = std::max(0, each - 1); w <= each; w++)
      for (int wanted = 1; wanted <= MOST_PARTS; wanted++) {
        int chunk = (steps + wanted - 1) / wanted, count = (steps + chunk - 1) / chunk, whole = count == 1 ? columns : w * processors;
        const int blocks = whole + (columns - whole) * count;
        if (count != wanted || (count > 1 && (columns == whole || blocks > 5 * processors + whole))) continue;
        auto run = [&](int copy) {
          const unsigned char *w = weights + tiles * tile * copy, *s = scales + tiles * scale * copy;
          void *arguments[] = {&x, &w, &s, &out, &parts, &rows, &outputs, &inputs, &whole, &count, &chunk};
          CHECK(cudaLaunchKernel(product.function, dim3(1, blocks), dim3(128), arguments, product.shared, 0));
          const int others = outputs - whole * 128;
          if (count > 1) sum_parts<<<(rows * others + 1023) / 1024, 256>>>(parts, out, rows, outputs, others, count);
        };
        CHECK(cudaMemset(out, 0xff, (size_t)rows * outputs * 2));
        run(0);
        widened<<<rows, 128>>>(out, found, outputs);
        std::vector<float> want(rows * CHECKED), got(want.size());
        CHECK(cudaMemcpy(want.data(), expected, want.size() * 4, cudaMemcpyDeviceToHost));
        CHECK(cudaMemcpy(got.data(), found, got.size() * 4, cudaMemcpyDeviceToHost));
        double most = 0, off = 0;
        for (size_t i = 0; i < want.size(); i++) {
          const double difference = std::abs(got[i] - want[i]);
          off = difference >= 0 ? std::max(off, difference) : INFINITY;
          most = std::max(most, (double)std::abs(want[i]));
        }
        error = std::max(error, off / most);
        std::vector<float> times;
        for (int turn = 0; turn < 3; turn++) {
          const int runs = copies * 6;
          CHECK(cudaEventRecord(before));
          for (int i = 0; i < runs; i++) run(i % copies);
          CHECK(cudaEventRecord(after));
          CHECK(cudaEventSynchronize(after));
          float milliseconds;
          CHECK(cudaEventElapsedTime(&milliseconds, before, after));
          times.push_back(milliseconds * 1000 / runs);
        }
        std::sort(times.begin(), times.end());
        if (times[1] < best) best = times[1], division = {whole, count, chunk};
        if (getenv("ALL")) printf("#%s %d %d: %d whole, %d parts of %d: %.1f\n", shape.name, rows, bits, whole, count, chunk, times[1]);
      }
      is_wrong |= !(error < 1e-2);
      printf("| %s | %d | %d | %d | %d | %.1f | %d | %d | %.2f | %.1e |\n", shape.name, outputs, inputs, rows, bits, best, division.whole, division.count, tiles * (tile + scale) / best / 1e6, error);
    }
    for (void *memory : {(void *)weights, (void *)scales, (void *)x, (void *)out, (void *)parts, (void *)expected, (void *)found}) CHECK(cudaFree(memory));
  }
  return is_wrong;
}
