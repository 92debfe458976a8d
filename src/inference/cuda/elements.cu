// What candle has no kernel for: attention over ragged sequences, and the
// passes over memory that belong together. Compiled by NVRTC when a model is
// loaded, for its shape:
//
//   HALF      1: elements are f16; 0: bf16
//   HEAD      width of a head; a multiple of 8
//   DIM       HEAD rounded up to a multiple of 16; at most 256
//   QUERIES   query heads
//   KEYS      key heads
//   WGMMA     1: the device has `wgmma`, as Hopper's have
//
// No header is used: a machine with a driver and NVRTC need have no toolkit.

typedef unsigned short T;
typedef unsigned int u32;
typedef unsigned long long u64;

#define GROUP (QUERIES / KEYS)
#define FULL 0xffffffffu
#define INFINITE __int_as_float(0x7f800000)
#define LOG2E 1.4426950408889634f
#define NONE 0xffffffffu

__device__ __forceinline__ float wide(T x) {
#if HALF
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x));
  return f;
#else
  return __uint_as_float((u32)x << 16);
#endif
}

__device__ __forceinline__ T narrow(float x) {
  T h;
#if HALF
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
#else
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
#endif
  return h;
}

// Two elements in a word, the first in the lower half.
__device__ __forceinline__ u32 pack(float low, float high) {
  u32 both;
#if HALF
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
  return both;
}

// a * b + c of both elements, rounded once.
__device__ __forceinline__ u32 fused(u32 a, u32 b, u32 c) {
  u32 d;
#if HALF
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
#else
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
#endif
  return d;
}

__device__ __forceinline__ float low(u32 both) { return wide((T)(both & 0xffff)); }
__device__ __forceinline__ float high(u32 both) { return wide((T)(both >> 16)); }

// d += a b, a [16, 16] row by row, b [16, 8] column by column.
__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if HALF
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#endif
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ u32 address(const void *shared) {
  return (u32)__cvta_generic_to_shared(shared);
}

// Four 8x8 matrices; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void matrices(u32 (&to)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}
__device__ __forceinline__ void matrices(u32 (&to)[4], const T *from) { matrices(to, address(from)); }

__device__ __forceinline__ void transposed(u32 (&to)[4], const T *from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address(from)));
}

// 16 bytes to shared memory behind our back; zeros where not `valid`.
__device__ __forceinline__ void fetch(void *to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(to)), "l"(from), "r"(valid ? 16 : 0));
}
__device__ __forceinline__ void fetch_to(u32 shared, const void *from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(from));
}
__device__ __forceinline__ void fetched() { asm volatile("cp.async.commit_group;"); }
template <int LEFT> __device__ __forceinline__ void await() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT)); }

__device__ __forceinline__ float warp_sum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(FULL, x, step);
  return x;
}
