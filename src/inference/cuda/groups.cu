// Products by a whole group of four warps, which only Hopper has: d [64, ROWS]
// is a [64, 16], in the registers of the warps, by b [16, ROWS] in shared
// memory. They go on behind our back: what they read and write is left alone
// until it has been awaited.
#if WGMMA

// Before registers that were written are multiplied.
__device__ __forceinline__ void begin_groups() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_groups() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> __device__ __forceinline__ void await_groups() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// What threads wrote to shared memory is there for `wgmma` after this and a
// barrier.
__device__ __forceinline__ void seen_by_groups() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Describes rows of 128 bytes whose pieces of 16 are swapped by the lowest bits
// of the row, 1,024 bytes for every eight of them.
__device__ __forceinline__ u64 rows_of_groups(u32 shared) { return (u64)1 << 62 | (u64)(1024 >> 4) << 32 | 1 << 16 | (shared & 0x3FFFF) >> 4; }

#if HALF
#define ELEMENTS "f16.f16"
#else
#define ELEMENTS "bf16.bf16"
#endif
#define FOUR(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])

// d = a b, or d += a b where `added`. A lane's four numbers of d[n] are those of
// `mma.m16n8k16` of columns 8 n and on.
__device__ __forceinline__ void multiply_groups(float (&d)[2][4], const u32 (&a)[4], u64 b, int added) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %13, 0; wgmma.mma_async.sync.aligned.m64n16k16.f32." ELEMENTS " {"
      "%0,%1,%2,%3,%4,%5,%6,%7"
      "}, {%8,%9,%10,%11}, %12, p, 1, 1, 0; }"
      : FOUR(0), FOUR(1)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(added));
}
__device__ __forceinline__ void multiply_groups(float (&d)[4][4], const u32 (&a)[4], u64 b, int added) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %21, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32." ELEMENTS " {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
      "}, {%16,%17,%18,%19}, %20, p, 1, 1, 0; }"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(added));
}
__device__ __forceinline__ void multiply_groups(float (&d)[8][4], const u32 (&a)[4], u64 b, int added) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32." ELEMENTS " {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
      "}, {%32,%33,%34,%35}, %36, p, 1, 1, 0; }"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(added));
}
__device__ __forceinline__ void multiply_groups(float (&d)[16][4], const u32 (&a)[4], u64 b, int added) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %69, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32." ELEMENTS " {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
      "}, {%64,%65,%66,%67}, %68, p, 1, 1, 0; }"
      : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7), FOUR(8), FOUR(9), FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14), FOUR(15)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(added));
}
#endif

