package aws

import "testing"

// The reason of a failure has what tenon-pod wrote into the failure file. Other documents in it are part of
// what SageMaker says.
func TestEndOfATrainingJob(t *testing.T) {
	for _, c := range []struct {
		name   string
		job    trainingJob
		exit   int
		reason string
	}{
		{"the failure file", trainingJob{FailureReason: `AlgorithmError: {"exit_code":3,"fault":"its output is missing"}, exit code: 3`}, 3, "its output is missing"},
		{"an exit code", trainingJob{FailureReason: "AlgorithmError: , exit code: 137"}, 137, "AlgorithmError: , exit code: 137"},
		{"a failure file that is cut off", trainingJob{FailureReason: `AlgorithmError: {"exit_code":1,"fault":"its out, exit code: 1`}, 1, `AlgorithmError: {"exit_code":1,"fault":"its out, exit code: 1`},
		{"another document", trainingJob{FailureReason: `ClientError: Invalid request: {"Field":"VpcConfig"}`}, 0, `ClientError: Invalid request: {"Field":"VpcConfig"}`},
		{"an empty document", trainingJob{FailureReason: `ClientError: no capacity for {}`}, 0, `ClientError: no capacity for {}`},
		{"a limit", trainingJob{SecondaryStatus: "MaxWaitTimeExceeded"}, 0, "MaxWaitTimeExceeded"},
	} {
		if got := trainingEnd(&c.job); got.exit != c.exit || got.reason != c.reason || !got.over {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}
