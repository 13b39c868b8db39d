#include "tests/support/fence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct fence fence_create(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (bytes + page - 1) / page * page;
    struct fence fence = {.mapping_bytes = usable + page};
    fence.mapping = mmap(NULL, fence.mapping_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(fence.mapping, MAP_FAILED);
    assert_int_equal(mprotect((char *)fence.mapping + usable, page, PROT_NONE), 0);
    fence.data = (char *)fence.mapping + usable - bytes;
    return fence;
}

void fence_destroy(struct fence *fence) {
    munmap(fence->mapping, fence->mapping_bytes);
    *fence = (struct fence){0};
}
