/* The tables of fastopt.h: name, number of states and hyperparameters of each rule, and
 * the scope of its sums. */
#include "fastopt.h"

const fo_rule_info fo_rules[FO_N_RULES] = {
#define FO_RULE(name, n_states, ...) {#name, n_states, #__VA_ARGS__},
#include "rules.def"
};

const int fo_scopes[FO_N_RULES] = {
#define FO_SUMS(name, n_states, n_sums, scope) [FO_RULE_##name] = scope,
#include "rules.def"
};
