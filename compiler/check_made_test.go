package compiler_test

import (
	"fmt"
	"testing"
)

// Every object that cannot be made has a sound twin.
func TestMade(t *testing.T) {
	const (
		forest   = "sklearn.ensemble.RandomForestClassifier"
		logistic = "sklearn.linear_model.LogisticRegression"
		words    = "sklearn.feature_extraction.text.TfidfVectorizer"
	)
	class := func(path, more string) string {
		return fmt.Sprintf(`models: m: #Class & {estimator: %q, %s}`, path, more)
	}
	regress := func(path, more string) string {
		return fmt.Sprintf(`models: m: #Number & {estimator: %q, %s}`, path, more)
	}
	gap := func(path, more string) string {
		return fmt.Sprintf(`sources: gaps: source.#CSV & {path: "gaps.csv", keys: ["id"], schema: {id: col.#Int64, gap: col.#Float64 & {nullable: true}, late: col.#Bool}}
models: m: train.#SKLearn & {in: table: sources.gaps.out, label: "late", test: split.#Random, evaluation: evaluate.#Classification, estimator: %q, %s}`, path, more)
	}
	step := func(path, more string) string {
		return class(logistic, fmt.Sprintf(`pipeline: [{transformer: %q, %s}]`, path, more))
	}
	for name, tt := range map[string]struct{ model, want string }{
		// Classes.
		"a class":                         {class(logistic, ""), ""},
		"a misspelt class":                {class("sklearn.linear_model.LogisticRegresion", ""), "scikit-learn 1.9.1 has no class sklearn.linear_model.LogisticRegresion"},
		"a class of another module":       {class("sklearn.LogisticRegression", ""), "scikit-learn 1.9.1 has no class sklearn.LogisticRegression"},
		"a module that does not exist":    {class("sklearn.linear.LogisticRegression", ""), "scikit-learn 1.9.1 has no class sklearn.linear.LogisticRegression"},
		"a module":                        {class("sklearn.linear_model", ""), "scikit-learn 1.9.1 has no class sklearn.linear_model"},
		"a function":                      {class("sklearn.metrics.accuracy_score", ""), "scikit-learn 1.9.1 has no class sklearn.metrics.accuracy_score"},
		"a private module":                {class("sklearn.linear_model._logistic.LogisticRegression", ""), ""},
		"a class that is imported":        {regress("sklearn.calibration.IsotonicRegression", ""), ""},
		"an experimental transformer":     {step("sklearn.impute.IterativeImputer", ""), ""},
		"a transformer that is not":       {step("sklearn.impute.KNNImputer", ""), ""},
		"a class of no package":           {class("acme.Forest", ""), "the environment of models.m has no package for acme.Forest"},
		"a class of another package":      {class("acme.Forest", `packages: ["acme==1.0"]`), ""},
		"a package that does not exist":   {class("xgboost.XGBClassifier", ""), "the environment of models.m has no package for xgboost.XGBClassifier"},
		"a package that is asked for":     {class("xgboost.XGBClassifier", `packages: ["xgboost-cpu==3.2.0"], params: max_depth: 3`), ""},
		"a parameter of it":               {class("xgboost.XGBClassifier", `packages: ["xgboost-cpu==3.2.0"], params: max_dept: 3`), `XGBClassifier has no parameter "max_dept"`},
		"another version of it":           {class("xgboost.XGBClassifier", `packages: ["xgboost-cpu==3.1.0"], params: max_dept: 3`), ""},
		"a parameter that it passes on":   {class("lightgbm.LGBMClassifier", `packages: ["lightgbm==4.7.0"], params: {num_leaves: 4, bagging_fraction: 0.5, n_estimators: 9}`), ""},
		"a parameter that it does not":    {class("lightgbm.LGBMClassifier", `packages: ["lightgbm==4.7.0"], params: num_leafs: 4`), `LGBMClassifier has no parameter "num_leafs"`},
		"a class that is named by a rule": {"models: m: #Class & {_kind: \"ExtraTrees\", estimator: \"sklearn.ensemble.\\(_kind)Classifier\"}", ""},

		// Roles.
		"a regressor of classes":          {class("sklearn.linear_model.Ridge", ""), "sklearn.linear_model.Ridge is a regressor, but models.m predicts a class"},
		"a classifier of classes":         {class("sklearn.linear_model.RidgeClassifier", ""), ""},
		"a classifier of numbers":         {regress(forest, ""), forest + " is a classifier, but models.m predicts a number"},
		"a regressor of numbers":          {regress("sklearn.ensemble.RandomForestRegressor", ""), ""},
		"a transformer as an estimator":   {class("sklearn.preprocessing.StandardScaler", ""), "sklearn.preprocessing.StandardScaler is a transformer, and predicts nothing"},
		"a transformer that predicts":     {regress("sklearn.cross_decomposition.PLSRegression", ""), ""},
		"a clusterer without predictions": {regress("sklearn.cluster.DBSCAN", ""), "sklearn.cluster.DBSCAN is a clusterer, and predicts nothing"},
		"a clusterer with predictions":    {regress("sklearn.cluster.KMeans", ""), ""},
		"a search":                        {class("sklearn.model_selection.GridSearchCV", `params: {estimator: {"$estimator": "`+logistic+`"}, param_grid: C: [0.1, 1]}`), ""},
		"an estimator as a transformer":   {step(logistic, ""), logistic + " is a classifier, and transforms nothing"},
		"a transformer":                   {step("sklearn.preprocessing.StandardScaler", ""), ""},
		"no transform":                    {step("sklearn.manifold.TSNE", ""), "sklearn.manifold.TSNE has no method transform"},
		"a transformer of text":           {step(words, `columns: ["note"]`), ""},
		"without its column":              {step(words, ""), words + " takes one column of text"},
		"a misspelt column":               {step(words, `columns: ["notes"]`), `models.m names a column "notes" that is not an input of the model`},
		"the label as a column":           {step("sklearn.preprocessing.StandardScaler", `columns: ["late"]`), `models.m names a column "late" that is not an input of the model`},
		"a column that a step makes":      {class(logistic, `pipeline: [{transformer: "sklearn.preprocessing.OneHotEncoder", columns: ["kind"]}, {transformer: "sklearn.preprocessing.StandardScaler", columns: ["kind_a"]}]`), ""},

		// Parameters.
		"a parameter":                     {class(forest, `params: n_estimators: 300`), ""},
		"a misspelt parameter":            {class(forest, `params: n_estimator: 300`), `RandomForestClassifier has no parameter "n_estimator"`},
		"a parameter of another class":    {class(forest, `params: learning_rate: 0.1`), `RandomForestClassifier has no parameter "learning_rate"`},
		"a misspelt one of a transformer": {step("sklearn.preprocessing.StandardScaler", `params: with_means: false`), `StandardScaler has no parameter "with_means"`},
		"one of a transformer":            {step("sklearn.preprocessing.StandardScaler", `params: with_mean: false`), ""},
		"a missing parameter":             {class("sklearn.ensemble.VotingClassifier", ""), `VotingClassifier needs a parameter "estimators"`},
		"too few":                         {class(forest, `params: n_estimators: 0`), "RandomForestClassifier does not take this n_estimators"},
		"the fewest":                      {class(forest, `params: n_estimators: 1`), ""},
		"a fraction for an integer":       {class(forest, `params: n_estimators: 10.0`), "RandomForestClassifier does not take this n_estimators"},
		"an integer for a fraction":       {class(logistic, `params: C: 1`), ""},
		"an open end":                     {class(logistic, `params: C: 0`), "LogisticRegression does not take this C"},
		"beyond an open end":              {class(logistic, `params: C: 0.001`), ""},
		"a fraction above one":            {class(forest, `params: max_features: 1.5`), "RandomForestClassifier does not take this max_features"},
		"a fraction of one":               {class(forest, `params: max_features: 1.0`), ""},
		"a number of columns":             {class(forest, `params: max_features: 2`), ""},
		"a misspelt option":               {class(forest, `params: criterion: "ginny"`), "RandomForestClassifier does not take this criterion"},
		"an option":                       {class(forest, `params: criterion: "entropy"`), ""},
		"null for nothing":                {class(forest, `params: max_depth: null`), ""},
		"null for a number":               {class(forest, `params: n_estimators: null`), "RandomForestClassifier does not take this n_estimators"},
		"a text for a number":             {class(forest, `params: max_depth: "none"`), "RandomForestClassifier does not take this max_depth"},
		"a bool for a number":             {class(forest, `params: n_jobs: true`), ""},
		"a number for a bool":             {class(forest, `params: oob_score: 1`), "RandomForestClassifier does not take this oob_score"},
		"a list for a tuple":              {class("sklearn.neural_network.MLPClassifier", `params: hidden_layer_sizes: [20, 10]`), ""},
		"a number for a list":             {class("sklearn.neural_network.MLPClassifier", `params: hidden_layer_sizes: 0`), "MLPClassifier does not take this hidden_layer_sizes"},
		"a range of words":                {step(words, `columns: ["note"], params: ngram_range: [1, 2]`), ""},
		"a range of one length":           {step(words, `columns: ["note"], params: ngram_range: [2, 2]`), ""},
		"a range that ends too early":     {step(words, `columns: ["note"], params: ngram_range: [2, 1]`), "TfidfVectorizer does not take this ngram_range"},
		"a scale":                         {step("sklearn.preprocessing.MinMaxScaler", `params: feature_range: [-1, 1]`), ""},
		"a scale without an extent":       {step("sklearn.preprocessing.MinMaxScaler", `params: feature_range: [1, 1]`), "MinMaxScaler does not take this feature_range"},
		"quantiles":                       {step("sklearn.preprocessing.RobustScaler", `params: quantile_range: [5.0, 95]`), ""},
		"quantiles in the wrong order":    {step("sklearn.preprocessing.RobustScaler", `params: quantile_range: [95.0, 5]`), "RobustScaler does not take this quantile_range"},
		"a number for a range":            {step(words, `columns: ["note"], params: ngram_range: 2`), "TfidfVectorizer does not take this ngram_range"},
		"a baseline":                      {class(forest, `evaluation: baseline: {estimator: "sklearn.dummy.DummyClassifier", params: strategy: "uniform"}`), ""},
		"an option of a baseline":         {class(forest, `evaluation: baseline: params: strategy: "mean"`), "DummyClassifier does not take this strategy"},
		"a baseline of another task":      {class(forest, `evaluation: baseline: estimator: "sklearn.dummy.DummyRegressor"`), "sklearn.dummy.DummyRegressor is a regressor, but models.m predicts a class"},

		// Nested objects.
		"nested":                          {class("sklearn.ensemble.BaggingClassifier", `params: estimator: {"$estimator": "`+logistic+`", params: C: 2}`), ""},
		"a misspelt nested class":         {class("sklearn.ensemble.BaggingClassifier", `params: estimator: {"$estimator": "sklearn.linear_model.Logistic"}`), "scikit-learn 1.9.1 has no class sklearn.linear_model.Logistic"},
		"a misspelt nested parameter":     {class("sklearn.ensemble.BaggingClassifier", `params: estimator: {"$estimator": "`+logistic+`", params: c: 2}`), `LogisticRegression has no parameter "c"`},
		"a parameter beside":              {class("sklearn.ensemble.BaggingClassifier", `params: estimator: {"$estimator": "`+logistic+`", C: 2}`), `there is no "C" next to $estimator`},
		"members":                         {class("sklearn.ensemble.VotingClassifier", `params: estimators: [["a", {"$estimator": "`+logistic+`"}], ["b", {"$estimator": "`+forest+`"}]]`), ""},
		"a member of another kind":        {class("sklearn.ensemble.VotingClassifier", `params: estimators: [["a", {"$estimator": "`+logistic+`"}], ["b", {"$estimator": "sklearn.svm.SVR"}]]`), "sklearn.svm.SVR is a regressor, but VotingClassifier takes only classifiers"},
		"a nested search":                 {class("sklearn.model_selection.GridSearchCV", `params: {estimator: {"$estimator": "`+logistic+`"}, param_grid: C: [0.1, 1], cv: {"$estimator": "sklearn.model_selection.StratifiedKFold", params: n_splits: 3}}`), ""},
		"a parameter of what it searches": {class("sklearn.model_selection.GridSearchCV", `params: {estimator: {"$estimator": "`+logistic+`"}, param_grid: C: [0.1, 1], cv: {"$estimator": "sklearn.model_selection.StratifiedKFold", params: splits: 3}}`), `StratifiedKFold has no parameter "splits"`},
		"a kernel":                        {class("sklearn.gaussian_process.GaussianProcessClassifier", `params: kernel: {"$estimator": "sklearn.gaussian_process.kernels.RBF", params: length_scale: 2.0}`), ""},

		// Weights of classes.
		"weights":                    {class(logistic, `label: "kind", params: class_weight: {a: 1, b: 2}`), ""},
		"a weight of no class":       {class(logistic, `label: "kind", params: class_weight: {a: 1, c: 2}`), `class_weight names a class "c", but kind has no such value`},
		"weights of any text":        {class(logistic, `label: "note", params: class_weight: {a: 1, c: 2}`), ""},
		"weights of a bool":          {class(logistic, `params: class_weight: {"true": 2, "false": 1}`), "class_weight names classes by strings, but the label late is a bool"},
		"balanced weights of a bool": {class(logistic, `params: class_weight: "balanced"`), ""},

		// Inputs as they are.
		"texts as they are":             {class(logistic, `preprocess: "none", exclude: ["note", "code"]`), logistic + " takes numbers, but the column kind holds strings"},
		"texts that are encoded":        {class(logistic, `exclude: ["note"]`), ""},
		"digits as they are":            {class(logistic, `preprocess: "none", exclude: ["kind", "note"]`), ""},
		"any text as it is":             {class(logistic, `preprocess: "none", exclude: ["kind", "code"]`), logistic + " takes numbers, but the column note holds strings"},
		"any text beside a step":        {class(logistic, `preprocess: "none", exclude: ["kind", "code"], pipeline: [{transformer: "sklearn.preprocessing.StandardScaler", columns: ["size"]}]`), logistic + " takes numbers, but the column note holds strings"},
		"any text of a step":            {class(logistic, `preprocess: "none", exclude: ["kind", "code"], pipeline: [{transformer: "`+words+`", columns: ["note"]}]`), ""},
		"nulls as they are":             {gap(logistic, `preprocess: "none"`), logistic + " takes no missing values, but the column gap may be null"},
		"nulls that are prepared":       {gap(logistic, ""), ""},
		"nulls that a step imputes":     {gap(logistic, `preprocess: "none", pipeline: [{transformer: "sklearn.impute.SimpleImputer", columns: ["gap"]}]`), ""},
		"nulls for a forest":            {gap(forest, `preprocess: "none"`), ""},
		"nulls for a step":              {gap(forest, `pipeline: [{transformer: "sklearn.decomposition.PCA", columns: ["gap"]}]`), "sklearn.decomposition.PCA takes no missing values, but the column gap may be null"},
		"nulls for a step that scales":  {gap(forest, `pipeline: [{transformer: "sklearn.preprocessing.StandardScaler", columns: ["gap"]}]`), ""},
		"texts for a dummy":             {class("sklearn.dummy.DummyClassifier", `preprocess: "none"`), ""},
		"texts that a step encodes":     {class(logistic, `preprocess: "none", exclude: ["note", "code"], pipeline: [{transformer: "sklearn.preprocessing.OneHotEncoder", columns: ["kind"]}]`), ""},
		"texts for a first step":        {class(logistic, `preprocess: "none", exclude: ["note", "code"], pipeline: [{transformer: "sklearn.preprocessing.StandardScaler"}]`), "sklearn.preprocessing.StandardScaler takes numbers, but the column kind holds strings"},
		"categories that are named":     {class("sklearn.ensemble.HistGradientBoostingClassifier", `preprocess: "none", exclude: ["note", "code"], params: categorical_features: ["kind"]`), ""},
		"a scaler of texts":             {step("sklearn.preprocessing.StandardScaler", `columns: ["kind"]`), "sklearn.preprocessing.StandardScaler takes numbers, but the column kind holds strings"},
		"a scaler of numbers":           {step("sklearn.preprocessing.StandardScaler", `columns: ["size"]`), ""},
		"a scaler of encoded texts":     {class(logistic, `pipeline: [{transformer: "sklearn.preprocessing.OrdinalEncoder", columns: ["kind"]}, {transformer: "sklearn.preprocessing.StandardScaler", columns: ["kind"]}]`), ""},
		"an imputer that may take text": {step("sklearn.impute.SimpleImputer", `columns: ["kind"], params: strategy: "most_frequent"`), ""},

		// Functions.
		"boosting":                          {`models: m: train.#XGBoost & #Late & {params: {max_depth: 3, eta: 0.1, lambda: 2, monotone_constraints: size: 1}}`, ""},
		"a misspelt parameter of XGBoost":   {`models: m: train.#XGBoost & #Late & {params: max_dept: 3}`, `xgboost.train has no parameter "max_dept"`},
		"a depth below zero":                {`models: m: train.#XGBoost & #Late & {params: max_depth: -3}`, "xgboost.train does not take this max_depth"},
		"a depth of zero":                   {`models: m: train.#XGBoost & #Late & {params: max_depth: 0}`, ""},
		"a rate that is text":               {`models: m: train.#XGBoost & #Late & {params: learning_rate: "fast"}`, "xgboost.train does not take this learning_rate"},
		"a rate in text":                    {`models: m: train.#XGBoost & #Late & {params: learning_rate: "0.1"}`, ""},
		"a method that does not exist":      {`models: m: train.#XGBoost & #Late & {params: tree_method: "histogram"}`, "xgboost.train does not take this tree_method"},
		"a method":                          {`models: m: train.#XGBoost & #Late & {params: tree_method: "approx"}`, ""},
		"a misspelt booster":                {`models: m: train.#XGBoost & #Late & {params: booster: "gbtrees"}`, "xgboost.train does not take this booster"},
		"a misspelt objective":              {`models: m: train.#XGBoost & #Late & {params: objective: "binary:logistics"}`, "xgboost.train does not take this objective"},
		"an objective":                      {`models: m: train.#XGBoost & #Late & {params: objective: "binary:logistic"}`, ""},
		"a metric":                          {`models: m: train.#XGBoost & #Late & {params: eval_metric: ["auc", "error@0.3"]}`, ""},
		"an objective for numbers, classes": {`models: m: train.#XGBoost & #Late & {params: objective: "reg:squarederror"}`, `the objective "reg:squarederror" is for numbers, but models.m is evaluated as a classification`},
		"LightGBM by an error":              {`models: m: train.#LightGBM & #Late & {params: objective: "l1"}`, `the objective "l1" is for numbers, but models.m is evaluated as a classification`},
		"a probability by regression":       {`models: m: train.#XGBoost & #Late & {params: objective: "reg:logistic"}`, ""},
		"an objective for classes":          {`models: m: train.#XGBoost & #Rate & {params: objective: "multi:softprob"}`, `the objective "multi:softprob" is for classes, but models.m is evaluated as a regression`},
		"an objective for numbers":          {`models: m: train.#XGBoost & #Rate & {params: objective: "reg:absoluteerror"}`, ""},
		"one of LightGBM for classes":       {`models: m: train.#LightGBM & #Rate & {params: application: "binary"}`, `the objective "binary" is for classes, but models.m is evaluated as a regression`},
		"one of LightGBM for numbers":       {`models: m: train.#LightGBM & #Rate & {params: application: "quantile"}`, ""},
		"one for shares":                    {`models: m: train.#LightGBM & #Rate & {label: "share", params: objective: "binary"}`, ""},
		"a tree with one leaf":              {`models: m: train.#LightGBM & #Late & {params: num_leaves: 1}`, "lightgbm.train does not take this num_leaves"},
		"a tree with two leaves":            {`models: m: train.#LightGBM & #Late & {params: num_leaves: 2}`, ""},
		"an alias with a wrong value":       {`models: m: train.#LightGBM & #Late & {params: sub_feature: 1.5}`, "lightgbm.train does not take this sub_feature"},
		"an alias":                          {`models: m: train.#LightGBM & #Late & {params: sub_feature: 0.5}`, ""},
		"two names of a parameter":          {`models: m: train.#LightGBM & #Late & {params: {eta: 0.1, learning_rate: 0.2}}`, "lightgbm.train gets two values for learning_rate"},
		"two names with one value":          {`models: m: train.#LightGBM & #Late & {params: {eta: 0.1, learning_rate: 0.1}}`, ""},
		"switched on":                       {`models: m: train.#LightGBM & #Late & {params: {extra_trees: true, boosting: "goss", objective: "xentropy", metric: ["auc", "binary_logloss"]}}`, ""},
		"a value that it passes on":         {class("lightgbm.LGBMClassifier", `packages: ["lightgbm==4.7.0"], params: bagging_fraction: 2`), "LGBMClassifier does not take this bagging_fraction"},
		"LightGBM":                          {`models: m: train.#LightGBM & #Late & {params: {num_leaves: 4, lambda_l2: 0.1, reg_alpha: 0.1, bagging_freq: 1}}`, ""},
		"a misspelt one of LightGBM":        {`models: m: train.#LightGBM & #Late & {params: num_leafs: 4}`, `lightgbm.train has no parameter "num_leafs"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"late.cue": fmt.Sprintf(trainers, tt.model)}, tt.want)
		})
	}
}

const trainers = `package late

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "late"

sources: flights: source.#CSV & {
	path: "flights.csv"
	schema: {
		id:    col.#Int64
		size:  col.#Float64
		kind:  col.#String & {values: ["a", "b"]}
		code:  col.#String & {values: ["1", "2"]}
		note:  col.#String
		late:  col.#Bool
		delay: col.#Float64
		share: col.#Float64 & {min: 0, max: 1}
	}
	keys: ["id"]
}

#Late: {
	in: table: sources.flights.out
	label:      *"late" | string
	test:       split.#Random
	evaluation: evaluate.#Classification
	...
}
#Rate: {
	in: table: sources.flights.out
	label:      *"delay" | string
	test:       split.#Random
	evaluation: evaluate.#Regression
	...
}
#Class: train.#SKLearn & {
	in: table: sources.flights.out
	label:      *"late" | string
	exclude:    *["delay"] | [...string]
	test:       split.#Random
	evaluation: evaluate.#Classification
	...
}
#Number: train.#SKLearn & {
	in: table: sources.flights.out
	label:      "delay"
	test:       split.#Random
	evaluation: evaluate.#Regression
	...
}
_used: [train.#SKLearn, evaluate.#Regression]
%s
`
