package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// An Evaluation is the report of a unit: metrics, and what plots need.
type Evaluation struct {
	Metrics        map[string]*float64 `json:"metrics"`
	Baseline       map[string]*float64 `json:"baseline,omitempty"`
	Unquantized    map[string]*float64 `json:"unquantized,omitempty"` // of a quantized model, with float weights
	Serving        map[string]*float64 `json:"serving,omitempty"`
	ServingVersion int                 `json:"serving_version,omitempty"`
	Intervals      *Intervals          `json:"intervals,omitempty"`
	HigherIsBetter map[string]bool     `json:"higher_is_better,omitempty"`
	Rows           int64               `json:"rows,omitempty"`
	Notes          []string            `json:"notes,omitempty"`
	Details        *Details            `json:"details,omitempty"` // unless an earlier version, or another component, wrote it
}

// detailsFormat is the layout of details.json that [Details] reads.
const detailsFormat = 1

// Details are the details.json of a report; stdlib/lib/evaluate/tenon_details.py describes
// it. What is undefined has a reason.
type Details struct {
	Format int    `json:"details"`
	Task   string `json:"task"` // "classification" or "regression"
	Label  string `json:"label"`
	Rows   int64  `json:"rows"`

	// Of a classification.
	Classes   []string     `json:"classes,omitempty"` // the most frequent ones
	Others    int          `json:"other_classes,omitempty"`
	Positive  string       `json:"positive,omitempty"` // of two classes
	Threshold *Threshold   `json:"threshold,omitempty"`
	Confusion *Confusion   `json:"confusion,omitempty"`
	PerClass  []ClassStats `json:"per_class,omitempty"`
	Curves    []Curves     `json:"curves,omitempty"` // of the positive class, or of each against the others

	// Of a regression.
	Predicted    *Grid          `json:"predicted,omitempty"`
	Residuals    *Histogram     `json:"residuals,omitempty"`
	Quantiles    *Quantiles     `json:"quantiles,omitempty"`
	ByPrediction *ByPrediction  `json:"by_prediction,omitempty"`
	Importances  *Importances   `json:"importances,omitempty"`
	Segments     []SegmentStats `json:"segments,omitempty"`
}

// A Threshold is the score from which a row is predicted positive.
type Threshold struct {
	Value  float64 `json:"value"`
	Reason string  `json:"reason,omitempty"`
}

// A Confusion has a row per actual class and a column per predicted one. If there are
// other classes, they are the last row and column. Shares are of the row.
type Confusion struct {
	Counts [][]int64    `json:"counts"`
	Shares [][]*float64 `json:"shares"`
}

// ClassStats are the metrics of one class.
type ClassStats struct {
	Class     string            `json:"class"`
	Rows      int64             `json:"rows"`
	Predicted int64             `json:"predicted"`
	Precision *float64          `json:"precision"`
	Recall    *float64          `json:"recall"`
	F1        *float64          `json:"f1"`
	Reasons   map[string]string `json:"reasons,omitempty"`
}

// Curves are the curves of one class against the others.
type Curves struct {
	Class           string          `json:"class"`
	ROC             ROC             `json:"roc"`
	PrecisionRecall PrecisionRecall `json:"precision_recall"`
	Calibration     Calibration     `json:"calibration"`
	Scores          Scores          `json:"scores"`
}

// An ROC is a receiver operating characteristic.
type ROC struct {
	FPR    []float64 `json:"fpr,omitempty"`
	TPR    []float64 `json:"tpr,omitempty"`
	Area   float64   `json:"area"`
	Reason string    `json:"reason,omitempty"`
}

// A PrecisionRecall is a precision-recall curve; Share is the precision of a guess.
type PrecisionRecall struct {
	Recall           []float64 `json:"recall,omitempty"`
	Precision        []float64 `json:"precision,omitempty"`
	AveragePrecision float64   `json:"average_precision"`
	Share            float64   `json:"share"`
	Reason           string    `json:"reason,omitempty"`
}

// A Calibration compares mean probabilities with the shares that were observed, by bin.
type Calibration struct {
	Predicted []float64 `json:"predicted,omitempty"`
	Observed  []float64 `json:"observed,omitempty"`
	Rows      []int64   `json:"rows,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

// Scores are histograms of the scores of one class.
type Scores struct {
	Edges    []float64 `json:"edges,omitempty"`
	OfClass  []int64   `json:"of_class,omitempty"`
	OfOthers []int64   `json:"of_others,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// A Grid counts rows by actual (first index) and predicted value.
type Grid struct {
	Edges  []float64 `json:"edges,omitempty"`
	Counts [][]int64 `json:"counts,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// A Histogram has one edge more than counts.
type Histogram struct {
	Edges  []float64 `json:"edges,omitempty"`
	Counts []int64   `json:"counts,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Quantiles are those of the residuals.
type Quantiles struct {
	Of     []float64 `json:"of,omitempty"`
	Values []float64 `json:"values,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// ByPrediction describes the rows by ranges of the prediction.
type ByPrediction struct {
	Bins   []PredictionBin `json:"bins,omitempty"`
	Reason string          `json:"reason,omitempty"`
}

// A PredictionBin has means, and quantiles of the residual: 10, 50 and 90 %.
type PredictionBin struct {
	Rows      int64   `json:"rows"`
	Predicted float64 `json:"predicted"`
	Actual    float64 `json:"actual"`
	Low       float64 `json:"low"`
	Median    float64 `json:"median"`
	High      float64 `json:"high"`
}

// Importances are what the model itself states about its features, largest first.
type Importances struct {
	Kind     string    `json:"kind,omitempty"`
	Features []Feature `json:"features,omitempty"`
	Others   int       `json:"other_features,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// A Feature is an input of the model, or what its pipeline made of one.
type Feature struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// SegmentStats are the metrics by the values of one column.
type SegmentStats struct {
	Column string  `json:"column"`
	Groups []Group `json:"groups"`
}

// A Group is the rows with one value, or a range of values. A small one has no metrics.
type Group struct {
	Group   string              `json:"group"`
	Rows    int64               `json:"rows"`
	Metrics map[string]*float64 `json:"metrics,omitempty"`
	Reason  string              `json:"reason,omitempty"`  // why it has no metrics
	Reasons []string            `json:"reasons,omitempty"` // why some are null
}

// evaluation reads the report with a digest.
func (w *Workspace) evaluation(ctx context.Context, digest string) (*Evaluation, error) {
	if err := w.artifacts.Fetch(ctx, digest); err != nil {
		return nil, err
	}
	if err := w.artifacts.Check(ctx, digest); err != nil {
		return nil, err
	}
	return readEvaluation(w.artifacts.Path(digest))
}

// readEvaluation reads the folder of a report.
func readEvaluation(folder string) (*Evaluation, error) {
	e := new(Evaluation)
	var shape *json.UnmarshalTypeError
	err := readJSON(filepath.Join(folder, "report.json"), e)
	if errors.As(err, &shape) { // another component may write anything besides the metrics
		e.Notes = append(e.Notes, "a part of report.json is left out: "+shape.Error())
	} else if err != nil {
		return nil, err
	}
	d := new(Details)
	switch err := readJSON(filepath.Join(folder, "details.json"), d); {
	case errors.Is(err, fs.ErrNotExist):
		e.Notes = append(e.Notes, "there are no plots: it has no details.json, which an earlier version of tenon or another component did not write")
	case err != nil:
		return nil, err
	case d.Format != detailsFormat:
		e.Notes = append(e.Notes, fmt.Sprintf("there are no plots: details.json has the format %d, and this version of tenon reads %d", d.Format, detailsFormat))
	default:
		e.Details = d
	}
	return e, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return nil
}
