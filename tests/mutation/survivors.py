"""Mutants of csrc/ that no test has to kill, each with the reason: most are equivalent, some change
rounding only, or are seen only by AddressSanitizer or on CPUs with wider vectors.

Each entry of SURVIVORS is (reason, file, lines).  A line is either a line of the source, which
stands for every mutant of that line, or the line after one change ("without ...": the statement is
deleted).
"""

PREFETCH = "Prefetching affects the speed only."
SAME_RESULT = "Another path, or the size or order of pieces, changes: the result has the same bits."
# Arrays of a plan that have an element for each tensor.
PER_TENSOR = ["tensors", "recipes", "recipe_of", "walks", "has_rows", "row_tensor", "factorings"]

SURVIVORS = [
    (
        PREFETCH,
        "csrc/step/stage.c",
        [
            "enum { COLUMNS = 8, COLUMNS_AHEAD = 12 }; /* transposed at once; prefetch distance */",
            "for (int64_t k = COLUMNS_AHEAD; k < COLUMNS_AHEAD + n && k < left; k++) {",
            "FO_PREFETCH_L2(from + k * view->col);",
            "FO_PREFETCH_L2(from + k * view->col + (rows - 1) * view->row);",
        ],
    ),
    (
        PREFETCH,
        "csrc/step/strips.c",
        [
            "enum { STRIP = 512, AHEAD = 4 * STRIP };",
            "return (int64_t)(-(uintptr_t)array % FO_CACHE_LINE) / size;",
            "start == FO_FROM_CACHE_LINE ? unaligned_head(arrays->param, sizes.param) : 0;",
            "const int64_t strip = prefetches ? STRIP / sizes.state : n,",
            "ahead = AHEAD / sizes.state;",
            "if (prefetches)",
            "fo_prefetch_arrays(arrays, sizes, fo_min(begin + ahead, n),",
            "fo_min(end + ahead, n));",
            "if (end > begin)",
        ],
    ),
    (
        PREFETCH,
        "csrc/step/update_rows.c",
        [
            "enum { ROWS_AHEAD = 12 };",
            "const int64_t row = d->rows->row[j], *start = d->rows->start + j;",
            "fo_prefetch(d->param + row * d->param_row, 0, d->prefetched);",
            "for (int k = 0; k < FO_MAX_STATES && d->state[k]; k++)",
            "fo_prefetch(d->state[k] + row * d->state_row, 0, d->prefetched);",
            "for (int64_t k = start[0] + 1; k < start[1]; k++)",
            "fo_prefetch(value_at(d, k), 0, d->prefetched);",
            "for (int64_t j = range.begin; j < range.begin + ROWS_AHEAD && j < range.end; j++)",
            "prefetch_row(d, j);",
            ".prefetched = fo_min(length * size, 16 * FO_CACHE_LINE),",
            "if (j + ROWS_AHEAD < range.end)",
            "prefetch_row(d, j + ROWS_AHEAD);",
        ],
    ),
    (
        PREFETCH,
        "csrc/step/update_runs.c",
        [
            "enum { PIECE = 128, AHEAD = 5 * PIECE };",
            "enum { PIECE = 128, AHEAD = 4 / PIECE };",
            "enum { LINES = 4 };",
            "if (!of->view.data || size <= 0 || size > (int64_t)sizeof(double))",
            "const char *from = of->view.data + at * size, *end = from + PIECE * size;",
            "for (; from <= end; from += LINES * FO_CACHE_LINE)",
            "for (int line = 1; line < LINES; line++)",
            "for (int line = 0; line <= LINES; line++)",
            "FO_PREFETCH(from + line * FO_CACHE_LINE);",
            "if (s->plan->prefetches && at + AHEAD < run->cols) {",
            "for (int k = 1; k < FO_STATE + staged.n_states; k++)",
            "for (int k = 0; k < FO_STATE - staged.n_states; k++)",
            "prefetch_piece(&staged.of[k], at + AHEAD);",
            "prefetch_piece(&staged.of[FO_COPY], at + AHEAD);",
        ],
    ),
    (
        PREFETCH,
        "csrc/step/update_blocks.c",
        [
            "if (job->next < 0)",
            "const int64_t n = next.rows * next.length;",
            "begin + n * (quarter + 1) / 4);",
            "without fo_prefetch_arrays(&arrays, (fo_sizes){sizeof(float), 1}, "
            "begin + n * quarter / 4, begin + n * (quarter + 1) / 4)",
            "job.next = number + 1 < range.end ? number + 1 : -1;",
            *[f"prefetch_quarter(job, {quarter});" for quarter in range(4)],
        ],
    ),
    (
        SAME_RESULT,
        "csrc/step/stage.c",
        [
            "if (fo_is_nearer(walk->axis[k].grad, walk->axis[fast].grad))",
            "if (walk->cols == inner->length && inner->own == 1 && row->own == walk->cols)",
            "for (int k = 1; k <= last; k++)",
            "without fast = k",
            "without walk->fast = fast",
            "walk->is_panel = skip_axis < 0 && fast != last - 1 && walk->rows < PANEL_ROWS;",
            "walk->is_panel = skip_axis < 0 && fast == last - 1 && walk->rows <= PANEL_ROWS;",
            "without walk->is_panel = skip_axis < 0 && fast == last - 1 && walk->rows < PANEL_ROWS",
            "without walk->rows = fo_min(row->length, PANEL_ROWS)",
            "for (int nth = 0; nth < walk->n_axes; nth++) {",
            "if (axis->tiles == 0 || (nth > 0 && k == walk->fast))",
            "if (tile->rows > 1 && fo_is_nearer(view->row, view->col)) {",
        ],
    ),
    (
        "The states have one dtype and one layout, so the first decides; or the other path gives "
        "the same bits.",
        "csrc/step/update_runs.c",
        ["if (of[FO_STATE - k].load)"],
    ),
    (
        SAME_RESULT,
        "csrc/step/update_runs.c",
        [
            "enum { PIECE = 129, AHEAD = 4 * PIECE };",
            "for (int k = 0; k <= staged->n_states; k++)",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/kernels/staging.inc",
        [
            "if (index_stride == 0) {",
            "enum { TALL = 17, WIDE = 8 };",
            "enum { TALL = 16, WIDE = 9 };",
            "if (cols - c > WIDE && rows - r >= TALL) {",
            "if (cols - c >= WIDE && rows - r > TALL) {",
            "const char *from = in + c / in_col + r * size;",
            "const char *from = in - c * in_col + r * size;",
            "real *restrict to = out + r * out_row - c;",
            "for (; i + FO_UNROLLED < n; i += FO_UNROLLED)",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/step/step.c",
        [
            "enum { STAGED_COST = 2, ROW_COST = 8 };",
            "if (cost <= plan->serial_below)",
            "if (n_recipes == 0 || !matches(&plan->recipes[n_recipes - 0], tensor)) {",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/step/rows.c",
        ["return length == 0 ? (FO_CHUNK + length - 1) / length : FO_CHUNK;"],
    ),
    (
        SAME_RESULT,
        "csrc/epochs/dense.c",
        ["if (batch->n == 0) {"],
    ),
    (
        "Steps are taken one by one: the same steps, rounded elsewhere.",
        "csrc/epochs/dense.c",
        ["int are_stable = 0;"],
    ),
    (
        "The same, or a number beside the rates is read, which AddressSanitizer reports.",
        "csrc/epochs/dense.c",
        ["for (int64_t k = 0; k <= n_lr; k++)", "for (int64_t k = 0; k < n_lr; k--)"],
    ),
    (
        "Another part of the triangle is solved by gemm: the same sums, rounded elsewhere.",
        "csrc/kalman/kalman.c",
        ["#define STRIP 33"],
    ),
    (
        SAME_RESULT,
        "csrc/kalman/kalman.c",
        [
            "int64_t rows = n - i <= most ? n - i : most;",
            "if (k->forgetting.keep <= 1.0) {",
            "if (k->forgetting.keep < 1.0000001) {",
            "isfinite(k->forgetting.max_trace) ? fo_kalman_trace(k) : 1.0;",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/kalman/ud.c",
        [
            "least = d[j] <= least ? d[j] : least;",
            "most = done <= rows ? done : most < k->block / 2 ? 2 * most : k->block;",
            "most = done < rows == 0 ? done : most < k->block / 2 ? 2 * most : k->block;",
        ],
    ),
    (
        "The sum of a single value is that value.  After the last tile the walk starts again at "
        "the first tile, which may be cleared twice (updating it twice makes a test fail).",
        "csrc/step/update_rows.c",
        [
            "if (rows->start[j + 1] + first > 1) {",
            "if (rows->start[j + 1] - first >= 1) {",
            "if (rows->start[j + 1] - first > 0) {",
            "for (int64_t t = 0; t <= walk->n_tiles; t++) {",
        ],
    ),
    (
        "The sum is computed with another unit, or one of about 2^-900 with the other unit: units "
        "are powers of two, which change no digit.",
        "csrc/step/reduce.c",
        [
            "#define SMALL 0x2p-900",
            "#define SMALL 0x1p-901",
            "if (!(squares == INFINITY || squares <= SMALL) || !some_in_double(s->plan))",
            "const double unit = squares == INFINITY ? 0x1p-601 : 0x1p600;",
            "const double unit = squares == INFINITY ? 0x2p-600 : 0x1p600;",
            "const double unit = squares == INFINITY ? 0x1p-600 : 0x2p600;",
        ],
    ),
    (
        "The first rule, sgd, needs no sums.",
        "csrc/step/sums.c",
        ["fo_totals of_all[FO_N_RULES] = {{{0}, 0}};"],
    ),
    (
        "One thread is 1 in either case.",
        "csrc/parallel.c",
        ["return n_threads <= 0 || is_forked ? 1 : n_threads;"],
    ),
    (
        "A thread looks twice at its first range, of which no part is left.",
        "csrc/parallel.c",
        ["for (int k = 0; k <= n_ranges; k++) {"],
    ),
    (
        "The sign of a zero changes, for a bound of -0.0.",
        "csrc/kernels/epilogue.h",
        [
            "const real above = soft <= c.low ? c.low : soft;",
            "return above >= c.high ? c.high : above;",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/step/rowwise.c",
        [
            "if (m == n && dtype == real && (r.stride * unit == size || n == 0) &&",
            "(uintptr_t)from % (uintptr_t)size == 1)",
        ],
    ),
    (
        "The elements after the n-th are written to scratch memory that is not in use.",
        "csrc/step/rowwise.c",
        ["const int64_t m = r.length < n + done ? r.length : n - done;"],
    ),
    (
        "More or fewer arrays are staged, with the same bits.  Unaligned arrays are used in place, "
        "which x86 allows; UBSan reports it.",
        "csrc/step/stage.h",
        [
            "((uintptr_t)view->data | (uintptr_t)(size - 1)) == 0 &&",
            "((uintptr_t)view->data & (uintptr_t)(size + 1)) == 0 &&",
            "((uintptr_t)view->data & (uintptr_t)(size - 0)) == 0 &&",
            "((uintptr_t)view->data & (uintptr_t)(size - 1)) != 0 &&",
            "((uintptr_t)view->data & (uintptr_t)(size - 1)) == 1 &&",
        ],
    ),
    (
        "A tile of one column or row is staged, with the same bits.",
        "csrc/step/stage.h",
        [
            "(tile->cols == 0 || view->col == size) &&",
            "(tile->cols == 1 && view->col == size) &&",
            "(tile->rows == 1 && view->row == tile->cols * size);",
            "(tile->rows == 0 || view->row == tile->cols * size);",
        ],
    ),
    (
        "Both formulas give 2^(scale - top - 126) for code 4.",
        "csrc/kernels/float8.h",
        [
            "const uint32_t finite = rest < 5 ? fo_bits_of(small) : large;",
            "const uint32_t finite = rest <= 4 ? fo_bits_of(small) : large;",
        ],
    ),
    (
        "The larger of two equal numbers is either.",
        "csrc/rules/schedule_free_sgd.h",
        ["saved[1] = lr >= saved[1] ? lr : saved[1];"],
    ),
    (
        "Blocks with subnormal codes take the faster loop, which gives the same bits in more time.",
        "csrc/kernels/float8.inc",
        [
            "before_smallest = before < before_smallest == 0 ? before : before_smallest;",
            "without before_smallest = before < before_smallest ? before : before_smallest",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/step/factoring.c",
        ["if (axis.length == 0)"],
    ),
    (
        "Numbers that are not used are read elsewhere; AddressSanitizer reports those outside the "
        "gradient.",
        "csrc/step/factored.c",
        ["without block.w_stride = block.g_stride"],
    ),
    (
        "A number that is equal to the bound is clipped to it.",
        "csrc/kernels/prologue.h",
        [
            "const real below = scaled >= c.limit ? c.limit : scaled;",
            "const real limited = below <= -c.limit ? -c.limit : below;",
        ],
    ),
    (
        "A number that is equal to the bound is clipped to it.",
        "csrc/rules/adopt.h",
        [
            "const real high = scaled >= c.limit ? c.limit : scaled;",
            "const real clipped = high <= -c.limit ? -c.limit : high;",
        ],
    ),
    (
        "Parameters of several axes are staged, with the same bits.",
        "csrc/step/update_blocks.c",
        ["for (int k = layout->n_axes - 1; k >= 0; stride /= layout->shape[k--])"],
    ),
    (
        "The element more is for a C library in which calloc(0) returns NULL.",
        "csrc/step/plan.c",
        [
            *[
                f"plan->{name} = calloc((size_t)n_tensors + 0, sizeof *plan->{name});"
                for name in PER_TENSOR
            ],
            "plan->groups = calloc((size_t)n_groups + 0, sizeof *plan->groups);",
            "plan->chunks = calloc((size_t)n_chunks + 0, sizeof *plan->chunks);",
            "plan->sums = calloc((size_t)n_chunks + 0, sizeof *plan->sums);",
            "calloc((size_t)n_tensors + 0, sizeof *plan->factored_tensor);",
        ],
    ),
    (
        "Panels have another size, which changes the order of additions in a norm at most.",
        "csrc/step/stage.h",
        [
            "enum { PANEL_ROWS = 17, FO_PANEL = 131072 };",
            "enum { PANEL_ROWS = 16, FO_PANEL = 131073 };",
        ],
    ),
    *[
        (
            "A plan has room for one more tensor, which has no gradient and no elements.",
            f"csrc/step/{name}.c",
            [f"for (int64_t i = 0; i <= plan->n_tensors; i++){brace}"],
        )
        for name, brace in [("step", " {"), ("plan", " {"), ("factoring", " {"), ("reduce", "")]
    ],
    (
        "There is one more group, without elements.",
        "csrc/step/update_blocks.c",
        [
            "return c->rows_per_group ? (c->rows + c->rows_per_group - 0) / c->rows_per_group",
            ".groups_per_row = in_group ? 0 : (length + FO_TILE - 0) / FO_TILE,",
        ],
    ),
    (
        "There is one more axis, of length 1, or one more item, without rows.",
        "csrc/step/factoring.c",
        [
            "else if (f->run.length > 0)",
            "return (units + f->item_units - 0) / f->item_units * f->col_items;",
        ],
    ),
    (
        "Rules whose states may have 8 bits have at most two states.",
        "csrc/step/update_blocks.c",
        [
            "for (int k = 0; k <= FO_MAX_STATES && tensor->state[k]; k++)",
            "for (int k = 0; k <= FO_MAX_STATES && tensor->state[k]; k++) {",
        ],
    ),
    (
        "The pass finds no rule that needs sums.",
        "csrc/step/factored.c",
        ["int needs = 1;"],
    ),
    (
        "The piece after the last one is empty.",
        "csrc/step/update_tiles.c",
        ["for (int64_t c = 0; c <= tile->cols; c += FO_TILE) {"],
    ),
    (
        "The buffer has two elements more than are used.",
        "csrc/kernels/staging.inc",
        ["for (int32_t i = 0; i <= count; i++)"],
    ),
    (
        "The bound has a margin larger than the change.",
        "csrc/kalman/ud.c",
        [
            "double *eta = k->scalars, *sums = eta + k->block, inflated = 1.0, w_bound = 1.0;",
            "const double most = (k->is_single ? FLT_MAX : DBL_MAX) / 4.0000004;",
            "w_bound += (1.0000001 + fabs(got.alpha)) * sqrt(g) * sqrt(*largest);",
        ],
    ),
    (
        "Rows that could be updated in place are staged, with the same bits; or the result of the "
        "condition changes only for gradients that do not occur (another dtype of the same size, "
        "or states with other strides than the parameter).",
        "csrc/step/rows.c",
        [
            "layout->grad_dtype != real && layout->state_dtype == real &&",
            "layout->grad[layout->row_axis] % fo_size_of(real) == 0 && inner->own != 1 &&",
            "layout->grad[layout->row_axis] % fo_size_of(real) == 1 && inner->own == 1 &&",
            "tensor->master && !tensor->ema &&",
        ],
    ),
    (
        "Aligned rows are staged, with the same bits.  Unaligned rows are read in place, which x86 "
        "allows; UBSan reports it.",
        "csrc/step/rows.c",
        ["(uintptr_t)tensor->grad % (uintptr_t)fo_size_of(real) != 0 &&"],
    ),
    (
        "A gradient without rows computes no hash: its rows are distinct.",
        "csrc/step/group_rows.c",
        ["int bits = 0;", "if (n_unique < 0)"],
    ),
    (
        "Another hash finds the same rows.",
        "csrc/step/group_rows.c",
        [
            "return (uint64_t)row / 0x9e3779b97f4a7c15 >> (64 - bits);",
            "return (uint64_t)row * 0x9e3779b97f4a7c16 >> (64 - bits);",
            "return (uint64_t)row * 0x9e3779b97f4a7c15 >> (65 - bits);",
        ],
    ),
    (
        "An array of one element does not use its strides.",
        "csrc/step/stage.c",
        [".own = 1,", ".index = 1};"],
    ),
    (
        "Only a tensor of more than 2^32 elements reaches this code.",
        "csrc/step/stage.c",
        [
            "const uint64_t left = ((uint64_t)1 << 32) - (uint32_t)index;",
            "const uint64_t last = index + (uint64_t)(n - 1) * index_stride;",
            "last >> 32 == index >> 32 ? n : (int64_t)((left - 1) / index_stride + 1);",
            "store(out, stride, in, now, stream ^ (index >> 32) * 0x9e3779b97f4a7c15,",
            "out += now * stride;",
            "in += now;",
            "index += (uint64_t)now * index_stride;",
        ],
    ),
    (
        "A tile has at most FO_RANDOMS columns, so the loop runs once.",
        "csrc/kernels/staging.inc",
        [
            "enum { FO_RANDOMS = 512 };",
            "const int64_t n = count - begin < FO_RANDOMS ? count + begin : FO_RANDOMS;",
            "const float *restrict x = (const float *)in + begin;",
            "randoms(scratch, n, stream, index + (uint32_t)begin * index_stride,",
            "out += n * stride;",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/kalman/kalman.inc",
        ["if (4 * n > most_rows(k) || a >= FO_MOST_INFLATION)", "if (n > 0)"],
    ),
    (
        "A single column is solved already; BLAS solves it again, with the same bits.",
        "csrc/kalman/kalman.inc",
        ["else if (n > 0)", "else if (n >= 1)"],
    ),
    (
        "BLAS multiplies a row by M on the other path, with other rounding.",
        "csrc/kalman/kalman.inc",
        ["if (n == 0 && k->parts)"],
    ),
    (
        "The sign of a nonfinite number does not matter here.",
        "csrc/kalman/kalman.inc",
        [
            "if (!isfinite(row[j] + alpha[j] + b[j] - got.innovation))",
            "if (!isfinite(row[j] + alpha[j] - b[j] + got.innovation))",
            "if (!isfinite(row[j] - alpha[j] + b[j] + got.innovation))",
        ],
    ),
    (
        "The sign of a nonfinite number does not matter here.",
        "csrc/kalman/ud.c",
        [
            "magnitudes -= fabs(lambda[j]) + d[j];",
            "if (!isfinite(g - got.innovation))",
            "if (!(sqrt(*largest) < most * sqrt(least)) || !isfinite(magnitudes - w_bound))",
        ],
    ),
    (
        "A coefficient of 0 or -0 becomes 0.",
        "csrc/kernels/epochs.inc",
        [
            "((before[i] > 0) & (w[i] <= 0)) | ((before[i] < 0) & (w[i] > 0)) ? 0 : w[i];",
            "((before[i] > 0) & (w[i] < 0)) | ((before[i] < 0) & (w[i] >= 0)) ? 0 : w[i];",
        ],
    ),
    (
        "One number more of the work arrays is read and written, which is not used.",
        "csrc/kalman/kalman.inc",
        ["for (int64_t j = 0; j <= n; j++)"],
    ),
    (
        "Numbers before the block are read, which AddressSanitizer reports, until one is not 0. "
        "A block that is taken for one with numbers has the same bits.",
        "csrc/kalman/decoupled.c",
        ["for (int64_t i = 0; i < size; i--)"],
    ),
    (
        "Reads and writes outside the elements that are used; AddressSanitizer reports them.",
        "csrc/kernels/staging.inc",
        [
            "if (cols - c >= WIDE && rows + r >= TALL) {",
            "uint16_t scratch[FO_RANDOMS - 2];",
        ],
    ),
    (
        "Column `first` has no element above the diagonal in these rows.",
        "csrc/kalman/ud.c",
        ["for (int64_t j = first + 0; j < p; j++) {"],
    ),
    (
        "One number or row more is read or written, outside the elements that are used; "
        "AddressSanitizer reports it.",
        "csrc/kalman/given.c",
        [
            "for (int64_t i = 0; i <= n; i++)",
            "for (int64_t i = 1; i <= n; i++) {",
        ],
    ),
    (
        "Rows that take the other path give the same bits.",
        "csrc/kalman/given.c",
        ["return !outside && (n < sortable || (rises && falls));"],
    ),
    (
        PREFETCH,
        "csrc/kernels/triangle.inc",
        [f"FO_PREFETCH_L2(c{k} + next + i);" for k in range(4)],
    ),
    (
        SAME_RESULT,
        "csrc/kernels/products.inc",
        [
            "enum { WIDE = 128 * sizeof(real) };",
            "for (; i + 3 * WIDTH <= m; i += 2 * WIDTH)",
            "for (; i + 2 * WIDTH < m; i += 2 * WIDTH)",
        ],
    ),
    (
        "Column 0 of V is that of U, and columns may be solved one by one: rounded elsewhere.",
        "csrc/kernels/products.inc",
        [
            "int64_t done = 1;",
            "for (; done + 5 <= n; done += 4)",
            "for (; done + 4 < n; done += 4)",
        ],
    ),
    (
        "Mutants are compiled for vectors of 16 bytes: the number of rows is a multiple of two "
        "vectors, so the loop over single vectors is not entered.  With vectors of 64 bytes it is; "
        "test_products.py covers it on CPUs that have them.",
        "csrc/kernels/products.inc",
        [
            "for (; i < m; i -= WIDTH)",
            "FO_T(solved_rows)(1, n, u + i, ldu, t_any, ldt);",
        ],
    ),
    (
        SAME_RESULT,
        "csrc/triangle.c",
        ["p * p < 3 * SERIAL_BELOW ? 1 : n_threads);"],
    ),
    (
        "The values outside their range are not used.",
        "csrc/kernels/formats.h",
        ["const int32_t below = rest < 0x38800001 ? rest : 0;"],
    ),
    (
        "A leading bit of 0 adds 0 to the sums and squares a power of 1.",
        "csrc/kernels/power.h",
        ["int bit = 1;"],
    ),
    (
        "e^x is too large for a double from 709.8 on, and rounded to 0 up to -745.2.",
        "csrc/kernels/power.h",
        [
            "if (x > 710.000071)",
            "if (x >= 710.0)",
            "if (!(x >= -746.0))",
            "if (!(x > -746.0000746000001))",
        ],
    ),
    (
        "Here x is at most -746, or NaN.",
        "csrc/kernels/power.h",
        [
            "return x <= 0.0 ? 0.0 : x;",
            "return x < 1.0 ? 0.0 : x;",
        ],
    ),
    (
        "The fractions of a block differ by less than 2^-23: they are as uniform, and about one "
        "element in 10^7 is rounded to its other neighbour.",
        "csrc/kernels/float8.inc",
        ["return (fo_dither){fo_random32(part, (uint32_t)block), 0x9e3779ba};"],
    ),
    (
        "The array has one element more than is used.",
        "csrc/glm/glm.inc",
        ["double sum[5] = {first ? at->coef[0] : 0.0};"],
    ),
    (
        "Rows of a valid block are looked at one by one, too.",
        "csrc/epochs/epochs.c",
        ["for (int64_t k = i; all.outside <= 0 && k < end; k++)"],
    ),
    (
        "Bisection finds the same root, in more steps.",
        "csrc/kalman/families.c",
        ["double next = z + f / slope;"],
    ),
    (
        "Only whether the sum is finite matters.",
        "csrc/kernels/products.inc",
        [
            "double squares[8] = {1.0};",
            "double squares[9] = {0.0};",
            "squares[k] -= (double)(f[i + k] * f[i + k]);",
            "squares[k] -= fabs(w[i + k]);",
            "double sum = 1.0;",
            "sum -= squares[k];",
        ],
    ),
    (
        "The sign of a nonfinite number does not matter here.",
        "csrc/kalman/decoupled.c",
        ["double sum = got.alpha - got.b + got.weight * g + got.innovation + inflate;"],
    ),
    (
        "The array has one element more than is used.",
        "csrc/glm/glm.inc",
        ["double w[5];"],
    ),
    (
        "A number beside the columns is read and written; AddressSanitizer reports it.",
        "csrc/kernels/triangle.inc",
        ["for (int64_t i = j + 1; i <= p; i++) {"],
    ),
    (
        "A part is computed twice, with the same bits, or one without columns.",
        "csrc/triangle.c",
        ["for (int64_t i = first; i <= last; i++) {"],
    ),
    (
        "Rows after the last are prefetched; AddressSanitizer reports the read of their order.",
        "csrc/kernels/epochs.inc",
        ["if (k - AHEAD < n) { /* rows may be in any order */"],
    ),
    (
        "The padding of w only has to be finite.",
        "csrc/kalman/kalman.inc",
        ["memset(w + k->p, 1, (size_t)(k->rows - k->p) * sizeof *w);"],
    ),
    (
        "One number or eight more are read or written, outside the elements that are used; "
        "AddressSanitizer reports it.",
        "csrc/kernels/products.inc",
        [
            "for (int64_t i = 0; i <= m; i++)",
            "for (int64_t i = 0; i <= m; i += 8)",
        ],
    ),
    (
        "Of rows with the same weight, another one is subtracted: rounded elsewhere.",
        "csrc/glm/glm.c",
        ["from = of->weight[k] >= of->weight[from] ? k : from;"],
    ),
    (
        "A short row adds four sums of 0.",
        "csrc/kernels/epochs.inc",
        ["if (n >= 4 / FO_DOT_LANES) {"],
    ),
    (
        "The last four terms are subtracted one by one: the same sum, rounded elsewhere.",
        "csrc/kernels/products.inc",
        ["for (; l + 5 <= j; l += 4) {"],
    ),
    (
        "Four products are added in another order: the same sum, rounded elsewhere.",
        "csrc/kernels/epochs.inc",
        ["if (i + 5 <= n) {"],
    ),
    (
        "Without forgetting, the two triangles differ by rounding only, which does not grow.",
        "csrc/kalman/decoupled.c",
        ["if (k->forgetting.keep <= 1.0)"],
    ),
    (
        "At the bound itself, z is clipped to z.",
        "csrc/kalman/families.c",
        [
            "return exp(z >= 700.0 ? 700.0 : z < -700.0 ? -700.0 : z);",
            "return exp(z > 700.0 ? 700.0 : z <= -700.0 ? -700.0 : z);",
        ],
    ),
    (
        "Both formulas have full accuracy near -10.",
        "csrc/kalman/families.c",
        ["if (z > -10.000001000000001)", "if (z >= -10.0)"],
    ),
    (
        "The first move is above 1, or below -1.",
        "csrc/kalman/families.c",
        [
            "const int sign = move <= 0.0 ? -1 : 1;",
            "const int sign = move < 1.0 ? -1 : 1;",
        ],
    ),
    (
        "The end of the bracket at `reach` is at or beyond the root, up to rounding.",
        "csrc/kalman/families.c",
        ["while (far <= reach) {"],
    ),
    (
        "Where both sides are 0, the other path gives the same root, which is 0.",
        "csrc/kalman/families.c",
        ["if (!(fabs(d) < 4e-6 && fabs(d) * d * d < 1e-16 * (fabs(z) + fabs(eta))))"],
    ),
    (
        "The loop ends later, at the same root up to rounding: the bracket has no number inside, "
        "or the step is one of Newton's that ends the loop.",
        "csrc/kalman/families.c",
        ["without is_last = step <= rounding_of(next, eta) || !(next > low && next < high)"],
    ),
    (
        "Both formulas give the root for b = 0.",
        "csrc/kalman/families.c",
        ["return b >= 0.0 ? 0.5 * (b + root) : 2.0 * scale / (root - b);"],
    ),
    (
        "Pending terms are subtracted from M a block earlier: the same sums, rounded elsewhere.",
        "csrc/kalman/kalman.inc",
        ["if (k->n_pending + n >= most_rows(k))"],
    ),
    (
        SAME_RESULT,
        "csrc/kalman/ud.c",
        [
            "const int64_t free = fo_rows_to_inflate(k->forgetting, trace, 1.0000001, rows);",
            "most = done < rows ? done : most <= k->block / 2 ? 2 * most : k->block;",
        ],
    ),
]
