/* Updating what a step's work items are made of. */
#ifndef FO_UPDATE_H
#define FO_UPDATE_H

#include "plan.h"

typedef struct {
    fo_plan *plan;
    const fo_extras *extras;
    double scale; /* of the gradients */
} fo_stepping;

/* Room for tiles of a parameter, an average, a gradient and states, and for a panel. */
enum { FO_ROOMS = FO_MAX_STATES + 3 };
typedef struct {
    _Alignas(64) unsigned char tile[FO_ROOMS][FO_TILE * sizeof(double)];
    unsigned char panel[FO_PANEL];
} fo_scratch;

/* Bring a tile of tensor i to where the kernel works, update it, and put it back. */
void fo_update_tile(const fo_stepping *s, int64_t i, const fo_tile *tile, const void *g,
                    const fo_coef *rule, fo_scratch *room);

/* The same of bfloat16 that a kernel takes as it is; returns 0 where it does not. */
int fo_update_bf16_tile(const fo_stepping *s, int64_t i, const fo_tile *tile);

/* The same of a panel, whose gradient lies across. */
void fo_update_panel(const fo_stepping *s, int64_t i, const fo_tile *panel,
                     const fo_place *grad, fo_scratch *room);

/* Touched rows of tensor i. */
void fo_update_rows(const fo_stepping *s, int64_t i, fo_range rows, fo_scratch *room);
void fo_clear_rows(const fo_plan *plan, int64_t i, fo_range rows);

#endif
