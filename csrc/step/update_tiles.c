/* Updates of tiles that need staging: the arrays have gaps, another memory order or a
 * dtype that kernels do not take (update.h). */
#include "update.h"

void fo_update_tile(const fo_step_context *s, int64_t i, const fo_tile *tile,
                    const void *g, const fo_coef *rule, fo_scratch *scratch)
{
    const fo_recipe *recipe = &s->plan->recipes[s->plan->recipe_of[i]];
    fo_staged staged;
    fo_stage_tile(&staged, s, i, tile, scratch);
    recipe->update(staged.w, g, staged.state, tile->rows * tile->cols, rule,
                   &recipe->prologue);
    fo_finish_arrays(s, &staged);
}

/* The gradient of a panel is transposed, so it is staged all at once; the other arrays
 * are staged in pieces of one row. */
void fo_each_piece(const fo_step_context *s, int64_t i, const fo_tile *tile,
                   fo_scratch *scratch, fo_piece_fn *call)
{
    const fo_dtype real = s->plan->tensors[i].dtype;
    const fo_view grad = fo_grad_view(&s->plan->tensors[i], tile);
    if (!s->plan->walks[i].is_panel) {
        call(s, i, tile, fo_stage(tile, &grad, real, scratch->tile[FO_GRAD]), scratch);
        return;
    }
    const char *g = fo_stage(tile, &grad, real, scratch->panel);
    for (int64_t r = 0; r < tile->rows; r++)
        for (int64_t c = 0; c < tile->cols; c += FO_TILE) {
            const fo_tile piece = fo_tile_piece(tile, r, c);
            call(s, i, &piece, g + (r * tile->cols + c) * fo_size_of(real), scratch);
        }
}
