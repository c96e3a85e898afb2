package aws

import (
	"fmt"
	"slices"
	"testing"
)

func TestWhatInfrastructureCostsWhileNothingRuns(t *testing.T) {
	for _, c := range []struct {
		system, region string
		want           []string
	}{
		// The closed jobs of "everything" reach ECR by two services, and CloudWatch Logs, each in two subnets. An
		// alarm on availability has two metrics.
		{"everything", "us-east-1", []string{"6 interfaces of VPC endpoints in a subnet 43.80 USD", "2 secrets 0.80 USD", "14 metrics of alarms 1.40 USD", "storage of artifacts", "storage of images", "storage of logs, and what is written to them"}},
		{"everything", "eu-central-1", []string{"6 interfaces of VPC endpoints in a subnet", "2 secrets", "14 metrics of alarms", "storage of artifacts", "storage of images", "storage of logs, and what is written to them"}},
		{"existing", "us-east-1", []string{"1 secrets 0.40 USD", "6 metrics of alarms 0.60 USD", "storage of logs, and what is written to them"}},
		{"cluster", "us-east-1", []string{"1 clusters of EKS 73.00 USD", "1 NAT gateways 32.85 USD", "what passes NAT gateways", "storage of artifacts", "storage of images", "storage of logs, and what is written to them"}},
		{"containers", "us-east-1", []string{"1 load balancers 16.43 USD", "2 public addresses of load balancers 7.30 USD", "8 interfaces of VPC endpoints in a subnet 58.40 USD", "1 secrets 0.40 USD", "8 metrics of alarms 0.80 USD", "what passes load balancers, in units of capacity", "storage of artifacts", "storage of images", "storage of logs, and what is written to them"}},
		{"empty", "us-east-1", []string{"storage of artifacts"}},
	} {
		all := systems()
		all["cluster"] = clusterSystem()
		sys := all[c.system]
		sys.Target.Settings["region"] = c.region
		s, err := Standing(sys)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range s.Items {
			text := i.What
			if i.Count > 0 {
				text = fmt.Sprint(i.Count, " ", text)
			}
			if i.Month != nil {
				text += " " + i.Month.Format(s.Currency)
			}
			got = append(got, text)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s in %s: got %q, want %q", c.system, c.region, got, c.want)
		}
	}
}
