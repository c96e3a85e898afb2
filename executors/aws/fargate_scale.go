package aws

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// scalingService is Application Auto Scaling, which changes how many tasks a service of Amazon ECS has.
var scalingService = jsonService{"Application Auto Scaling", "application-autoscaling", "AnyScaleFrontendService", "application-autoscaling", "", "", false}

// Replicas are how many tasks a service has: as many as least, or up to most so that their average use of cores is target
// percent, if that is not 0. There are fewer once fewer suffice for as long as idle says, in seconds.
type replicas struct {
	least, most int64
	target      float64
	idle        int64
}

// tagReplicas is the tag of a task definition with its replicas, and of a service that follows its load with those that it
// has, or is about to have.
const tagReplicas = "tenon:replicas"

const replicasText = "%d %d %g %d"

func (r replicas) String() string {
	return fmt.Sprintf(replicasText, r.least, r.most, r.target, r.idle)
}

// follow reports whether there are more replicas with more load.
func (r replicas) follow() bool { return r.target > 0 }

// counted adds the number of tasks to the fields of an update, unless AWS changes it.
func (r replicas) counted(in map[string]any) map[string]any {
	of := maps.Clone(in)
	if !r.follow() {
		of["desiredCount"] = r.least
	}
	return of
}

// replicasOf returns the replicas of a service. Its target is a part of the cores that it needs, of which its task may have
// more.
func replicasOf(u ir.Unit) replicas {
	n := instancesOf(u)
	s := u.Endpoint.Scale
	if s == nil {
		return replicas{least: n, most: n}
	}
	milli, _, _ := size(u.Needs)
	return replicas{n, int64(s.Max), max(1, float64(s.CPU)*float64(cmp.Or(u.Needs.MilliCPU, milli))/float64(milli)), int64(cmp.Or(s.Idle, usualIdle) / time.Second)}
}

const usualIdle = 5 * time.Minute

// parsedReplicas returns the replicas in a tag, and one if it has none.
func parsedReplicas(text string) (r replicas) {
	if n, _ := fmt.Sscanf(text, replicasText, &r.least, &r.most, &r.target, &r.idle); n != 4 {
		return replicas{least: 1, most: 1}
	}
	return r
}

// scale makes the service of a unit follow its load, or not. It is idempotent.
func (e containers) scale(ctx context.Context, c *cloud, st *taskState, r replicas) error {
	now, err := c.service(ctx, st)
	if err != nil || !now.lives() {
		return err
	}
	has := tagMap(now.Tags)[tagReplicas]
	if !r.follow() {
		if has == "" {
			return nil
		}
		if err := e.fix(ctx, c, st); err != nil {
			return err
		}
		return e.mark(ctx, c, now.ServiceArn, tag{tagReplicas, ""})
	}
	if has != r.String() { // before there is something to remove
		if err := e.mark(ctx, c, now.ServiceArn, tag{tagReplicas, r.String()}); err != nil {
			return err
		}
	}
	in := scaled(st)
	in["MinCapacity"], in["MaxCapacity"] = r.least, r.most
	if err := c.scaling.call(ctx, "RegisterScalableTarget", in, nil); err != nil {
		return explainContainer("let the service "+st.Service+" follow its load", err)
	}
	in = scaled(st)
	in["PolicyName"], in["PolicyType"] = "cpu", "TargetTrackingScaling"
	in["TargetTrackingScalingPolicyConfiguration"] = map[string]any{
		"TargetValue": r.target, "ScaleInCooldown": r.idle, "PredefinedMetricSpecification": map[string]string{"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
	}
	return explainContainer("let the service "+st.Service+" follow its load", c.scaling.call(ctx, "PutScalingPolicy", in, nil))
}

// fix makes the number of tasks of a service stay. With the target go its policy and the alarms that AWS has made for it.
func (e containers) fix(ctx context.Context, c *cloud, st *taskState) error {
	err := c.scaling.call(ctx, "DeregisterScalableTarget", scaled(st), nil)
	if hasCode(err, "ObjectNotFoundException") {
		return nil
	}
	return explainContainer("fix the number of tasks of "+st.Service, err)
}

// scaled names the number of tasks of a service.
func scaled(st *taskState) map[string]any {
	return map[string]any{"ServiceNamespace": "ecs", "ResourceId": "service/" + st.Cluster + "/" + st.Service, "ScalableDimension": "ecs:service:DesiredCount"}
}
