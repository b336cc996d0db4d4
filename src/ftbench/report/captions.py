"""The figures of the page `index.html` in words, in their order: the page shows those that have something to show.

Each is the name of the figure, its heading, what a reader who cannot see it is told, and what it shows.
"""

CAPTIONS = (
    ("id_ood", "In-domain against shifted",
     "Scatter plot: one point a run, in-domain score across, mean score of the shifted sets up",
     "One point a run, a star a soup; on the grey line, where it is in view, both scores are"
     " equal; the broken line is the trend. Runs"
     " without all scores are left out."),
    ("trends", "Trend under shift",
     "Scatter plots on logit scales: in-domain score across, score on one shifted set up, one point a run",
     "One panel a set, one point a run of any method; the broken line is what the runs of the family let expect at an"
     " in-domain score, so points above it are robust beyond that."),
    ("forgetting", "Forgetting",
     "Scatter plot: one point a method, in-domain score across, change on the prior task up",
     "One point a method: up and right is better."),
    ("damage", "Rehearsal and damage",
     "Left: new-task score across, prior-task score up, one point a method. Right: estimated damage by bin over steps",
     "The grey line is the front: no other method is better at one task and no worse at the other. Dotted: before"
     " fine-tuning. The bins are those of the first method that estimates damage."),
    ("calibration", "Calibration",
     "Scatter plot: one point a method, calibration error in domain across, under shift up",
     "One point a method: down and left is better. The error is biased upward in small sets."),
    ("reliability", "Reliability",
     "Line plots: accuracy over confidence in bins, one line a method; in domain and under shift, before and after"
     " temperature scaling",
     "On the grey line confidence and accuracy agree; below it a method is too sure. All seeds and all sets of a role"
     " together, 15 bins of equal width, those with fewer than 10 rows left out. The temperature of a run is fitted on"
     " its selection rows, so it need not suit shifted sets."),
    ("soups", "Soup path",
     "Line plot: select score of a soup after each candidate that was tried",
     "What a greedy soup tried: a fall marks a candidate that lies across a barrier and was left out."),
    ("perturbations", "Scores under perturbation",
     "Line plots: score over the strength of an edit, one line a method, one panel a perturbation and set",
     "Strength is the rate of the edits; a band goes from the lowest to the highest seed."),
    ("attacks", "Success of attacks",
     "Line plots: share of successes over the queries that an attack may ask, one line a method, one panel an attack",
     "Of examples that were right before, all seeds together. Where a budget would cut within the candidates of a word,"
     " the line counts that success as not reached."),
    ("transfer", "Transfer of attacks",
     "Matrices: methods whose artifacts were fooled by rows, methods asked about the same texts by columns",
     "Share of texts that fool the method asked too, among examples that it has right, in %. Runs of one method are"
     " pooled; the diagonal is between its seeds."),
    ("detection", "Telling rows from outside",
     "Dot plots: area under the ROC curve by score, one point a method, one panel an outside set",
     "Mean over seeds with its 95 % t interval; at the grey line a score tells nothing."),
    ("cost", "Cost against quality",
     "Scatter plot: one point a method, seconds of training across, in-domain score up",
     "One point a method: up and left is better."),
    ("curves", "Training curves",
     "Line plot: training loss over steps, one line a run",
     "One line a seed, a colour for each method."),
)  # fmt: skip
