"""What KalmanRegressor and KalmanClassifier share.

| module | what it answers |
|---|---|
| `base` | the arguments, attributes and warnings of both |
| `online` | `OnlineFilter`: a filter with an intercept, whose first rows determine its prior |
"""
