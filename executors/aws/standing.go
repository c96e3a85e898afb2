package aws

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// hoursOfMonth is the number of hours in a month, as AWS counts them.
const hoursOfMonth = 730

// standingSource says where rates are from.
const standingSource = "on-demand rates of us-east-1 in USD, as quoted in 2026-11 and not checked"

// A rate is what one of something costs each month while it exists, in some regions.
type rate struct {
	what   string // in the plural
	month  money.Amount
	region string
}

// Rates are quoted from the pages "AWS PrivateLink pricing" (0.01 USD for an hour of an endpoint in a subnet), "AWS
// Secrets Manager pricing" (0.40 USD for a month of a secret), "Amazon CloudWatch pricing" (0.10 USD for a
// month of a metric of an alarm), "Amazon EKS pricing" (0.10 USD for an hour of a cluster), "Amazon VPC
// pricing" (0.045 USD for an hour of a NAT gateway, 0.005 USD for one of a public address) and "Elastic Load Balancing
// pricing" (0.0225 USD for an hour of an application load balancer). They may have changed. Those of other regions differ and are unknown.
var (
	interfaceRate = rate{"interfaces of VPC endpoints in a subnet", money.One / 100 * hoursOfMonth, "us-east-1"}
	secretRate    = rate{"secrets", money.One * 40 / 100, "us-east-1"}
	alarmRate     = rate{"metrics of alarms", money.One / 10, "us-east-1"}
	clusterRate   = rate{"clusters of EKS", money.One / 10 * hoursOfMonth, "us-east-1"}
	natRate       = rate{"NAT gateways", money.One * 45 / 1000 * hoursOfMonth, "us-east-1"}
	balancerRate  = rate{"load balancers", money.One * 225 / 10_000 * hoursOfMonth, "us-east-1"}
	addressRate   = rate{"public addresses of load balancers", money.One * 5 / 1000 * hoursOfMonth, "us-east-1"}
)

// Standing returns what the infrastructure of a system costs while nothing runs: what AWS bills because it exists.
func Standing(sys *ir.System) (*planner.Standing, error) {
	w, err := written(sys)
	if err != nil {
		return nil, err
	}
	out := &planner.Standing{Currency: "USD", Source: standingSource}
	stored := map[string]bool{}
	counts := map[rate]int64{}
	for _, f := range w.files {
		for _, b := range f.Blocks {
			if b.Kind != "resource" {
				continue
			}
			switch b.Labels[0] {
			case "aws_vpc_endpoint":
				if kind, _ := b.Body.Attribute("vpc_endpoint_type"); kind.Text == "Interface" {
					counts[interfaceRate] += subnetsOfLane
				}
			case "aws_eks_cluster":
				counts[clusterRate]++
			case "aws_nat_gateway":
				counts[natRate]++
			case "aws_lb":
				counts[balancerRate]++
				if w.Balancer.Public {
					counts[addressRate] += w.zonesOfBalancer()
				}
			case "aws_secretsmanager_secret":
				counts[secretRate]++
			case "aws_cloudwatch_metric_alarm":
				counts[alarmRate] += max(1, watched(&b.Body))
			case "aws_s3_bucket":
				stored["artifacts"] = true
			case "aws_ecr_repository":
				stored["images"] = true
			case "aws_cloudwatch_log_group":
				stored["logs, and what is written to them"] = true
			}
		}
	}
	for _, r := range []rate{clusterRate, natRate, balancerRate, addressRate, interfaceRate, secretRate, alarmRate} {
		if counts[r] == 0 {
			continue
		}
		item := planner.StandingItem{What: r.what, Count: counts[r]}
		if w.Region == r.region {
			month := r.month.Times(counts[r], 1)
			item.Month = &month
		}
		out.Items = append(out.Items, item)
	}
	if counts[natRate] > 0 {
		out.Items = append(out.Items, planner.StandingItem{What: "what passes NAT gateways"})
	}
	if counts[balancerRate] > 0 {
		out.Items = append(out.Items, planner.StandingItem{What: "what passes load balancers, in units of capacity"})
	}
	for _, what := range sortedKeys(stored) {
		out.Items = append(out.Items, planner.StandingItem{What: "storage of " + what})
	}
	return out, nil
}

// watched counts the metrics of an alarm that computes a value of them.
func watched(b *terraform.Body) (n int64) {
	for _, i := range b.Items {
		if i.Name != "metric_query" || i.Body == nil {
			continue
		}
		for _, inner := range i.Body.Items {
			if inner.Name == "metric" {
				n++
			}
		}
	}
	return n
}
