package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// functions runs services on AWS Lambda. A unit has one function, with a URL that never changes. A
// task is a version of the function, which a variable marks, and the URL invokes an alias that
// names the version of the task that answers.
//
// Nothing is made twice: the function is named after the unit, a version is looked for before it is
// published, and the alias and the URL have one name.
type functions struct{ *Executor }

// lambdaTimeout is how long a function may take for a request, in seconds.
const lambdaTimeout = 30

// prepare implements [backend].
func (e functions) prepare(st *taskState, t executors.Task) {
	w := e.names()
	st.Run, st.Function, st.Group, st.Ready = e.runName(t.Name), w.function(&t.Unit), w.logGroup(&t.Unit), t.Unit.Endpoint.Ready
}

// apply implements [backend]. Requests go to the version once [functions.promote] is called.
func (e functions) apply(ctx context.Context, c *cloud, st *taskState, t executors.Task, _ *taskState) error {
	published, _, err := c.versions(ctx, st.Function)
	if err != nil {
		return err
	}
	own := st.own(published)
	for _, x := range versionTasks(t) {
		if versionFor(own, x) != nil {
			continue
		}
		v, err := e.publish(ctx, c, st, x)
		if err != nil {
			return err
		}
		own = append(own, *v)
	}
	st.Record = aws.ToString(versionFor(own, t).FunctionArn)
	if err := e.reserve(ctx, c, st.Function, t.Unit.Endpoint.Scale); err != nil {
		return err
	}
	return e.address(ctx, c, st)
}

// own returns the versions of a task.
func (st taskState) own(published []version) (own []version) {
	for _, v := range published {
		if v.run == st.Run {
			own = append(own, v)
		}
	}
	return own
}

// find implements [backend]. A task is there once its version is published.
func (e functions) find(ctx context.Context, c *cloud, st *taskState) (bool, error) {
	st.Run = e.runName(st.Name)
	w := e.names()
	// The name of the task does not say which unit it is of. Names of functions begin as those of
	// the system do, except for the end of long ones.
	prefix := w.prefix[:min(len(w.prefix), mostFunction-9)]
	pages := lambda.NewListFunctionsPaginator(c.lambda, &lambda.ListFunctionsInput{})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		if err != nil {
			return false, explainLambda("list the functions", err)
		}
		for _, f := range out.Functions {
			name := aws.ToString(f.FunctionName)
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			published, now, err := c.versions(ctx, name)
			if err != nil {
				return false, err
			}
			own := st.own(published)
			if len(own) == 0 && now != nil && now.run == st.Run { // it was killed before it published
				own = []version{*now}
			}
			if len(own) == 0 {
				continue
			}
			st.Record, st.Unit, st.Function = aws.ToString(own[0].FunctionArn), own[0].unit, name
			st.Root, st.Ready = "s3://"+w.bucket(c)+"/"+w.root, own[0].ready
			if l := own[0].LoggingConfig; l != nil {
				st.Group = aws.ToString(l.LogGroup)
			}
			return true, e.address(ctx, c, st)
		}
	}
	return false, nil
}

// publish publishes the version of a task.
func (e functions) publish(ctx context.Context, c *cloud, st *taskState, t executors.Task) (*version, error) {
	had, err := c.function(ctx, st.Function)
	if err != nil {
		return nil, err
	}
	if err := e.owned(st, had); err != nil {
		return nil, err
	}
	zip, err := e.archive(ctx, t)
	if err != nil {
		return nil, err
	}
	if had == nil {
		made, err := e.create(ctx, c, st, t, zip)
		if err != nil {
			return nil, err
		}
		had = made
	}
	if had != nil {
		if err := e.update(ctx, c, st, t, zip); err != nil {
			return nil, err
		}
	}
	now, err := e.settled(ctx, c, st.Function)
	if err != nil {
		return nil, err
	}
	out, err := c.lambda.PublishVersion(ctx, &lambda.PublishVersionInput{
		FunctionName: &st.Function, CodeSha256: now.CodeSha256, RevisionId: now.RevisionId, Description: aws.String(st.Name),
	})
	if err != nil {
		return nil, explainLambda("publish a version of the function "+st.Function, err)
	}
	v := versionOf(types.FunctionConfiguration{FunctionArn: out.FunctionArn, Version: out.Version, Environment: out.Environment, LastModified: out.LastModified})
	if versionFor(st.own([]version{v}), t) == nil {
		return nil, fmt.Errorf("another program changes the function %s: apply again when it is done", st.Function)
	}
	return &v, nil
}

// owned returns an error if a function was not made for the unit and the state of a task.
func (e functions) owned(st *taskState, f *lambda.GetFunctionOutput) error {
	if f == nil {
		return nil
	}
	return e.Executor.owned(st, "function "+st.Function, f.Tags)
}

// create creates the function of a unit. It returns the function if another call has created it.
func (e functions) create(ctx context.Context, c *cloud, st *taskState, t executors.Task, zip []byte) (*lambda.GetFunctionOutput, error) {
	x, err := e.configuration(c, st, t)
	if err != nil {
		return nil, err
	}
	in := &lambda.CreateFunctionInput{
		FunctionName: &st.Function, Description: x.Description, Role: x.Role, Runtime: x.Runtime, Handler: x.Handler, MemorySize: x.MemorySize, Timeout: x.Timeout,
		Environment: x.Environment, EphemeralStorage: x.EphemeralStorage, LoggingConfig: x.LoggingConfig,
		Architectures: []types.Architecture{types.Architecture(e.opts.Architecture)}, PackageType: types.PackageTypeZip,
		Code: &types.FunctionCode{ZipFile: zip}, Tags: e.tags(*st),
	}
	delete(in.Tags, tagQueue)
	delete(in.Tags, tagTask) // the function stays for the next one
	err = e.again(ctx, func() error {
		_, err := c.lambda.CreateFunction(ctx, in)
		if !busy(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, explainLambda("create the function "+st.Function, err)
	}
	had, err := c.function(ctx, st.Function)
	if err != nil || had == nil || had.Configuration == nil {
		return nil, err
	}
	if err := e.owned(st, had); err != nil {
		return nil, err
	}
	if versionFor(st.own([]version{versionOf(*had.Configuration)}), t) != nil {
		return nil, nil
	}
	return had, nil
}

// update gives a function the configuration and the archive of a task.
func (e functions) update(ctx context.Context, c *cloud, st *taskState, t executors.Task, zip []byte) error {
	in, err := e.configuration(c, st, t)
	if err != nil {
		return err
	}
	err = e.again(ctx, func() error {
		_, err := c.lambda.UpdateFunctionConfiguration(ctx, in)
		return err
	})
	if err != nil {
		return explainLambda("configure the function "+st.Function, err)
	}
	if _, err := e.settled(ctx, c, st.Function); err != nil {
		return err
	}
	err = e.again(ctx, func() error {
		_, err := c.lambda.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{
			FunctionName: &st.Function, ZipFile: zip, Architectures: []types.Architecture{types.Architecture(e.opts.Architecture)},
		})
		return err
	})
	return explainLambda("upload the archive of the function "+st.Function, err)
}

// configuration returns what a function has besides its archive.
func (e functions) configuration(c *cloud, st *taskState, t executors.Task) (*lambda.UpdateFunctionConfigurationInput, error) {
	variables, err := marks(st, t)
	if err != nil {
		return nil, err
	}
	disk := int32(leastScratch)
	if d := t.Unit.Needs.Disk; d > 0 {
		disk = int32(max((d-1)>>20+1, leastScratch))
	}
	return &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &st.Function, Description: aws.String(st.Unit + " of " + e.opts.System), Role: aws.String(e.names().role(c, placedAt(onLambda, st.Unit))),
		Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"), MemorySize: aws.Int32(memoryOf(t.Unit.Needs)), Timeout: aws.Int32(lambdaTimeout),
		Environment:      &types.Environment{Variables: variables},
		EphemeralStorage: &types.EphemeralStorage{Size: &disk},
		LoggingConfig:    &types.LoggingConfig{LogGroup: &st.Group},
	}, nil
}

// memoryOf returns the memory of a function that has what a unit needs, in MiB.
func memoryOf(n ir.Resources) int32 {
	if n.Memory == 0 {
		return usualMemory
	}
	return int32(max((n.Memory-1)>>20+1, serviceMin))
}

// leastScratch is the disk that every function has, in MiB.
const leastScratch = 512

// reserve reserves as many requests at a time as the unit has at most replicas, or as many as
// the account has if that is not said.
func (e functions) reserve(ctx context.Context, c *cloud, name string, s *ir.Scale) error {
	if s != nil {
		_, err := c.lambda.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: &name, ReservedConcurrentExecutions: aws.Int32(int32(s.Max))})
		return explainLambda("limit the "+inFlight+" of the function "+name, err)
	}
	now, err := c.lambda.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: &name})
	if err == nil && now.ReservedConcurrentExecutions != nil {
		_, err = c.lambda.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: &name})
	}
	return explainLambda("look at the limit of the function "+name, err)
}

// reachable makes sure that the function has a URL, which only callers with rights in the account may call.
func (e functions) reachable(ctx context.Context, c *cloud, st *taskState) error {
	if err := e.address(ctx, c, st); err != nil || st.URL != "" {
		return err
	}
	out, err := c.lambda.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: &st.Function, Qualifier: aws.String(live), AuthType: types.FunctionUrlAuthTypeAwsIam})
	if busy(err) { // of a call whose answer was lost
		return e.address(ctx, c, st)
	}
	if err != nil {
		return explainLambda("create the URL of the function "+st.Function, err)
	}
	st.URL = strings.TrimSuffix(aws.ToString(out.FunctionUrl), "/")
	return nil
}

// address completes the state with the URL of the function, if it has one.
func (e functions) address(ctx context.Context, c *cloud, st *taskState) error {
	u, err := c.lambda.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: &st.Function, Qualifier: aws.String(live)})
	if missing(err) {
		return nil
	}
	if err != nil {
		return explainLambda("look at the URL of the function "+st.Function, err)
	}
	if u.AuthType != types.FunctionUrlAuthTypeAwsIam {
		return fmt.Errorf("anybody may call the function %s: run `aws lambda update-function-url-config --function-name %[1]s --qualifier %s --auth-type AWS_IAM`", st.Function, live)
	}
	st.URL = strings.TrimSuffix(aws.ToString(u.FunctionUrl), "/")
	return nil
}

// promote implements [promoter]. What already answers has the route that was set last.
func (e functions) promote(ctx context.Context, c *cloud, st *taskState) error {
	published, _, err := c.versions(ctx, st.Function)
	if err != nil {
		return err
	}
	own := st.own(published)
	if len(own) == 0 {
		return errors.New("its version was removed outside tenon: apply again")
	}
	a, err := c.alias(ctx, st.Function)
	if err != nil {
		return err
	}
	if a != nil && slices.ContainsFunc(own, func(v version) bool { return invokes(a, v) }) {
		return e.reachable(ctx, c, st)
	}
	to := pointing{number: own[0].number, description: st.Name}
	if r := own[0].route; r != nil && len(own) == len(r.Versions) {
		if to, err = (described{*r, time.Now()}).pointing(own); err != nil {
			return err
		}
	}
	if a != nil {
		err = e.point(ctx, c, st, to)
	} else {
		_, err = c.lambda.CreateAlias(ctx, &lambda.CreateAliasInput{
			FunctionName: &st.Function, Name: aws.String(live), FunctionVersion: &to.number, Description: &to.description, RoutingConfig: to.weights(),
		})
		err = explainLambda("create the alias of the function "+st.Function, err)
	}
	if err != nil {
		return err
	}
	return e.reachable(ctx, c, st)
}

// end implements [backend]. A version costs nothing, and [functions.forget] removes it.
func (e functions) end(context.Context, *cloud, *taskState) error { return nil }

// forget implements [backend]. With the last version goes the function. If a version of another task
// is left, because that one could not be removed or because this one is given up after it was
// promoted, requests go there.
func (e functions) forget(ctx context.Context, c *cloud, st taskState) error {
	published, now, err := c.versions(ctx, st.Function)
	if err != nil || now == nil {
		return err
	}
	own := st.own(published) // the name of the task includes the state, so no other task has such versions
	others := slices.DeleteFunc(published, func(v version) bool { return v.run == st.Run })
	if len(others) == 0 && (len(own) > 0 || now.run == st.Run) {
		return e.remove(ctx, c, st.Function)
	}
	if len(own) == 0 {
		return nil
	}
	a, err := c.alias(ctx, st.Function)
	if err != nil {
		return err
	}
	if a != nil && slices.ContainsFunc(own, func(v version) bool { return invokes(a, v) }) {
		if err := e.point(ctx, c, &st, pointing{number: others[len(others)-1].number, description: st.Name}); err != nil {
			return err
		}
	}
	return e.unpublish(ctx, c, &st, own)
}

// remove removes a function with its URL, its alias and its versions.
func (e functions) remove(ctx context.Context, c *cloud, name string) error {
	_, err := c.lambda.DeleteFunctionUrlConfig(ctx, &lambda.DeleteFunctionUrlConfigInput{FunctionName: &name, Qualifier: aws.String(live)})
	if err != nil && !missing(err) {
		return explainLambda("remove the URL of the function "+name, err)
	}
	err = e.again(ctx, func() error {
		_, err := c.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name})
		return err
	})
	if err != nil && !missing(err) {
		return explainLambda("remove the function "+name, err)
	}
	return nil
}
