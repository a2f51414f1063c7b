"""Standard errors, tests and summaries of a fit, without its rows.

| module | what it answers |
|---|---|
| `fitted` | `Fitted`: the numbers of a fitted model, without its rows |
| `reporting` | `Inference`: standard errors, tests and summaries of the estimators |
| `estimates` | standard errors, intervals and tests of a fit |
| `restrictions` | linear restrictions written as equations |
| `robust` | robust covariances: HC0 to HC3 and clusters |
| `rows` | the rows of a block at the coefficients of a fit |
| `likelihood` | log-likelihoods from sums |
| `summary` | the printed summary: statsmodels' own, or a table here |
| `statsmodels_results` | a fit as statsmodels' GLMResults, without rows |
| `statsmodels_mnlogit` | a multinomial fit as statsmodels' MultinomialResults, without rows |
"""
