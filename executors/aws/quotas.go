package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// A quota limits what an account may have at a time in a region. Names are those in Service Quotas.
type quota struct{ service, name string }

// A serviceQuota is a quota as Service Quotas has it.
type serviceQuota struct {
	QuotaCode, QuotaName string
	Value                float64
}

// trainingQuota limits the instances of a type that run training jobs.
func trainingQuota(instance string, spot bool) quota {
	if spot {
		return quota{"sagemaker", instance + " for spot training job usage"}
	}
	return quota{"sagemaker", instance + " for training job usage"}
}

// fargateQuota limits the cores of all tasks of Fargate.
func fargateQuota(spot bool) quota {
	if spot {
		return quota{"fargate", "Fargate Spot vCPU resource count"}
	}
	return quota{"fargate", "Fargate On-Demand vCPU resource count"}
}

// quotaLists are the quotas of a region, by service and name. They are read once.
type quotaLists struct {
	mu  sync.Mutex
	all map[string]map[string]serviceQuota
}

// Admit returns a [executors.LackingError] that names each quota of the account that is too small for one of the
// units. Several jobs may share a quota one after another, and services share it at the same time, also with the largest of
// these jobs. A quota that Service Quotas does not list is not checked, and neither are those that the credentials may not
// read, with a warning.
func (e *Executor) Admit(ctx context.Context, units []ir.Unit) (asked bool, err error) {
	type need struct {
		services, job float64 // of all services, and of the largest job
		who, largest  string
	}
	needs, order := map[quota]*need{}, []quota(nil)
	var c *cloud
	for i := range units {
		qs, n := e.quotasOf(&units[i])
		for _, q := range qs {
			if c == nil {
				if c, err = e.cloud(ctx, e.opts.Region); err != nil {
					return false, err
				}
			}
			of := needs[q]
			if of == nil {
				of = &need{}
				needs[q], order = of, append(order, q)
			}
			switch place := e.opts.place(&units[i]); {
			case place == onSageMaker || place == onFargate:
				old, variants, err := e.beside(ctx, c, &units[i])
				if err != nil {
					return false, err
				}
				n := n*float64(variants) + old
				if of.who += ", " + units[i].ID; old > 0 {
					of.who += fmt.Sprintf(" during its update (%v are there, and %v start beside them)", old, n-old)
				}
				of.services += n
			case n > of.job:
				of.job, of.largest = n, ", "+units[i].ID
			}
		}
	}
	var small []error
	for _, q := range order {
		has, err := c.quotaOf(ctx, q)
		if err != nil {
			return false, err
		}
		asked = asked || has != nil
		of := needs[q]
		if n := of.services + of.job; has != nil && has.Value < n {
			small = append(small, fmt.Errorf(
				"%s needs %v of the quota %q (%s) of %s, and the account has %v in %s: ask for more in Service Quotas, with `aws service-quotas request-service-quota-increase --region %s --service-code %s --quota-code %s --desired-value %v`",
				strings.TrimPrefix(of.who+of.largest, ", "), n, q.name, has.QuotaCode, q.service, has.Value, c.region, c.region, q.service, has.QuotaCode, n))
		}
	}
	if len(small) > 0 {
		return true, &executors.LackingError{Err: errors.Join(small...)}
	}
	return asked, nil
}

// quotasOf returns the quotas that a unit uses, and how much of each.
func (e *Executor) quotasOf(u *ir.Unit) ([]quota, float64) {
	switch e.opts.place(u) {
	case onBatch:
		milli, _, _ := size(u.Needs)
		return []quota{fargateQuota(e.opts.Jobs.Spot)}, float64(milli) / 1000
	case onTraining:
		instance := e.opts.trainingInstance(u.Needs)
		all := []quota{trainingQuota(instance, e.opts.Jobs.Spot)}
		if e.opts.Jobs.warm() > 0 {
			all = append(all, quota{"sagemaker", instance + " for training warm pool usage"})
		}
		return all, 1
	case onSageMaker:
		return []quota{{"sagemaker", e.opts.endpoint(u).Instance + " for endpoint usage"}}, float64(instancesOf(*u))
	case onFargate:
		milli, _, _ := size(u.Needs)
		return []quota{fargateQuota(false)}, float64(milli*replicasOf(*u).most) / 1000
	case onTenon, onLambda:
	}
	return nil, 0
}

// beside returns how much of its quota a service has already, which answers until its update is done, and how many variants the
// update has.
func (e *Executor) beside(ctx context.Context, c *cloud, u *ir.Unit) (old float64, variants int, err error) {
	if e.opts.place(u) == onFargate {
		old, err = containers{e}.cores(ctx, c, u)
		return old, 1, err // the versions of a release are in one container
	}
	return endpoints{e}.beside(ctx, c, u)
}

// beside returns how many instances of the declared type the endpoint of a unit has, and how many variants its update has.
func (e endpoints) beside(ctx context.Context, c *cloud, u *ir.Unit) (instances float64, variants int, err error) {
	now, err := c.describeEndpoint(ctx, e.names().endpoint(u))
	if err != nil || now == nil {
		return 0, 1, err
	}
	x, err := c.endpointConfig(ctx, now.EndpointConfigName)
	if err != nil || x == nil {
		return 0, 1, err
	}
	for _, v := range x.ProductionVariants {
		if v.InstanceType == e.opts.endpoint(u).Instance {
			instances += float64(v.InitialInstanceCount)
		}
	}
	if u.Release != nil {
		return instances, 2, nil
	}
	return instances, 1, nil
}

// quotaOf returns a quota as the account has it, or nil if Service Quotas does not list it.
func (c *cloud) quotaOf(ctx context.Context, q quota) (*serviceQuota, error) {
	c.lists.mu.Lock()
	defer c.lists.mu.Unlock()
	if c.lists.all == nil {
		c.lists.all = map[string]map[string]serviceQuota{}
	}
	list := c.lists.all[q.service]
	if list == nil {
		list = map[string]serviceQuota{}
		in := map[string]any{"ServiceCode": q.service, "MaxResults": 100}
		for {
			var out struct {
				Quotas    []serviceQuota
				NextToken string
			}
			err := c.quotas.call(ctx, "ListServiceQuotas", in, &out)
			// AWS says itself what is too small, only later.
			var unknown *addressError
			if hasCode(err, "AccessDeniedException") {
				c.warn(fmt.Errorf("the quotas of %s are not checked, since these credentials may not read them: grant them servicequotas:ListServiceQuotas", q.service))
				break
			} else if errors.As(err, &unknown) {
				c.warn(fmt.Errorf("the quotas of %s are not checked: %w", q.service, err))
				break
			}
			if err != nil {
				return nil, explainCall("read the quotas of "+q.service, err)
			}
			for _, has := range out.Quotas {
				list[has.QuotaName] = has
			}
			if out.NextToken == "" {
				break
			}
			in["NextToken"] = out.NextToken
		}
		c.lists.all[q.service] = list
	}
	if has, ok := list[q.name]; ok {
		return &has, nil
	}
	return nil, nil
}
