/* The table fo_rules (fastopt.h): name, number of states and hyperparameters of each
 * rule. */
#include "fastopt.h"

const fo_rule_info fo_rules[FO_N_RULES] = {
#define FO_RULE(name, n_states, ...) {#name, n_states, #__VA_ARGS__},
#include "rules.def"
};
