//! The dashboard of the app: its alarms, and the metrics of each service.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html>

use aws_sdk_cloudwatch::Client;
use serde_json::{Value, json};
use shared::doc::ServiceRecord;
use shared::error::if_found;
use shared::{Diff, Result, Run, Tried};

use crate::AlarmsSet;
use crate::alarm::arn;
use crate::definition::{balancer, definitions, target_group};
use crate::settings::Wanted;

/// The body of the dashboard, if it exists.
pub type Found = Option<Value>;

/// Alarms that one widget shows.
const ALARMS: usize = 100;
/// Widgets of a dashboard. Beyond about 80 services, the last ones are not on it.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html>
const WIDGETS: usize = 500;
/// Seconds that one point of a graph covers.
const PERIOD: i32 = 60;
/// Columns and rows of a graph; a dashboard has 24 columns.
const GRAPH: (usize, usize) = (8, 6);
/// Rows of the text and of the alarms above the graphs.
const TOP: [usize; 2] = [2, 4];

/// Dashboards belong to the account, not to a region.
fn name(run: &Run) -> Result<String> {
    Ok(format!("{}-{}", run.app, run.caller()?.region))
}

/// Finds the dashboard by its name.
///
/// # Errors
/// Returns what AWS refused.
pub async fn find(cloudwatch: &Client, run: &Run) -> Result<Found> {
    run.ask_caller().await?;
    let name = name(run)?;
    let said = if_found(cloudwatch.get_dashboard().dashboard_name(&name).send().await.tried(format!("read the dashboard {name}")))?;
    Ok(said.map(|said| serde_json::from_str(said.dashboard_body().unwrap_or_default()).unwrap_or_default()))
}

/// A dashboard has no tags, so its text says which app it belongs to.
fn mark(app: &str) -> String {
    format!("# {app}\nCreated by alarms-set of ecs-pipe, which restores it in each run. `ecs-pipe:app={app}`")
}

fn is_of_app(app: &str, body: &Value) -> bool {
    let widgets = body["widgets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let end = format!("`ecs-pipe:app={app}`");
    widgets.iter().filter_map(|widget| widget["properties"]["markdown"].as_str()).any(|text| text.ends_with(&end))
}

impl AlarmsSet {
    /// A run of some services only keeps the dashboard, because it shows all services.
    pub async fn dashboard_up(&self, run: &Run, wanted: &Wanted) -> Result<()> {
        let (name, found) = (name(run)?, &self.found.dashboard);
        if wanted.partial {
            self.alarms.borrow_mut().dashboard_name = found.is_some().then_some(name);
            return Ok(());
        } else if !wanted.dashboard {
            // One that somebody else has created is none of the app's business.
            let ours = found.as_ref().is_some_and(|body| is_of_app(&run.app, body));
            return if ours { self.dashboard_down(run).await } else { Ok(()) };
        }
        self.alarms.borrow_mut().dashboard_name = Some(name.clone());
        let alarms = definitions(&run.app, wanted).iter().take(ALARMS).map(|one| arn(run, &one.name)).collect::<Result<Vec<_>>>()?;
        let body = body(&run.app, &run.caller()?.region, wanted, &alarms);
        match found {
            Some(found) if !is_of_app(&run.app, found) => Err(run.unmanaged("dashboard", &name)),
            Some(found) => {
                let diff = Diff::new().json("DashboardBody", Some(found), &body);
                if diff.is_empty() {
                    run.found("dashboard", &name);
                }
                run.change("dashboard", &name, &diff, self.put_dashboard(&name, &body)).await
            }
            None => {
                let create = async { self.put_dashboard(&name, &body).await.map(|()| name.clone()) };
                run.create("dashboard", &name, create).await.map(drop)
            }
        }
    }

    async fn put_dashboard(&self, name: &str, body: &Value) -> Result<()> {
        let call = self.cloudwatch.put_dashboard().dashboard_name(name).dashboard_body(body.to_string());
        call.send().await.tried(format!("set the dashboard {name}")).map(drop)
    }

    pub async fn dashboard_down(&self, run: &Run) -> Result<()> {
        let (name, found) = (name(run)?, &self.found.dashboard);
        let ours = |body: &Value| run.may_delete("dashboard", &name, is_of_app(&run.app, body));
        if !found.as_ref().is_some_and(ours) {
            return Ok(());
        }
        let call = self.cloudwatch.delete_dashboards().dashboard_names(&name);
        run.delete("dashboard", &name, async { call.send().await.tried(format!("delete the dashboard {name}")).map(drop) }).await
    }
}

fn body(app: &str, region: &str, wanted: &Wanted, alarms: &[String]) -> Value {
    let text = json!({"type": "text", "x": 0, "y": 0, "width": 24, "height": TOP[0], "properties": {"markdown": mark(app)}});
    let state = json!({"type": "alarm", "x": 0, "y": TOP[0], "width": 24, "height": TOP[1],
        "properties": {"title": "Alarms", "alarms": alarms}});
    let mut widgets = vec![text, state];
    let mut row = TOP[0] + TOP[1];
    for (service, record) in &wanted.svc.services {
        let graphs = graphs(wanted, service, record);
        for (i, (title, metrics)) in graphs.iter().enumerate() {
            let (width, height) = GRAPH;
            let (x, y) = (i % 3 * width, row + i / 3 * height);
            widgets.push(json!({"type": "metric", "x": x, "y": y, "width": width, "height": height,
                "properties": {"title": format!("{service}: {title}"), "region": region, "period": PERIOD, "view": "timeSeries", "metrics": metrics}}));
        }
        row += graphs.len().div_ceil(3) * GRAPH.1;
    }
    widgets.truncate(WIDGETS);
    json!({"widgets": widgets})
}

/// Returns the graphs of a service: title and metrics.
fn graphs(wanted: &Wanted, service: &str, record: &ServiceRecord) -> Vec<(&'static str, Value)> {
    let of_service = |namespace: &str, metric: &str, stat: &str| json!([namespace, metric, "ClusterName", wanted.cluster.name, "ServiceName", service, {"stat": stat}]);
    let tasks = if wanted.insights {
        let of = |metric| of_service("ECS/ContainerInsights", metric, "Average");
        json!([of("RunningTaskCount"), of("DesiredTaskCount")])
    } else {
        json!([of_service("AWS/ECS", "CPUUtilization", "SampleCount")])
    };
    let used = |metric| json!([of_service("AWS/ECS", metric, "Average"), of_service("AWS/ECS", metric, "Maximum")]);
    let mut graphs = vec![("CPU in percent", used("CPUUtilization")), ("memory in percent", used("MemoryUtilization")), ("tasks", tasks)];
    if record.published {
        let of = |metric: &str, stat: &str| json!(["AWS/ApplicationELB", metric, "LoadBalancer", balancer(wanted), "TargetGroup", target_group(record), {"stat": stat}]);
        graphs.push(("requests", json!([of("RequestCount", "Sum")])));
        graphs.push(("latency in seconds", json!([of("TargetResponseTime", "p50"), of("TargetResponseTime", "p99")])));
        graphs.push(("5xx responses", json!([of("HTTPCode_Target_5XX_Count", "Sum")])));
    }
    graphs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::wanted;

    #[test]
    fn the_dashboard_has_a_row_for_each_subject() {
        let body = body("shop", "eu-west-1", &wanted(true, None), &["arn".to_owned()]);
        let of = |key: &str| body["widgets"].as_array().unwrap().iter().map(|one| one[key].to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(of("type").replace('"', ""), "text alarm metric metric metric metric metric metric metric metric metric");
        assert_eq!((of("x"), of("y")), ("0 0 0 8 16 0 8 16 0 8 16".to_owned(), "0 2 6 6 6 12 12 12 18 18 18".to_owned()));
        let titles = body["widgets"].as_array().unwrap().iter().filter_map(|one| one["properties"]["title"].as_str()).collect::<Vec<_>>();
        let web = ["CPU in percent", "memory in percent", "tasks", "requests", "latency in seconds", "5xx responses"];
        assert_eq!(titles[1..7], web.map(|title| format!("web: {title}")));
        let requests = &body["widgets"][5]["properties"]["metrics"][0];
        let expected = json!(["AWS/ApplicationELB", "RequestCount", "LoadBalancer", "app/shop/50dc", "TargetGroup", "targetgroup/shop-web/73e2", {"stat": "Sum"}]);
        assert_eq!(*requests, expected);
    }

    #[test]
    fn a_large_app_has_as_many_graphs_as_a_dashboard_takes() {
        let mut wanted = wanted(false, None);
        let (_, record) = wanted.svc.services.pop_first().unwrap();
        wanted.svc.services = (0..200).map(|n| (format!("web-{n}"), record.clone())).collect();
        assert_eq!(body("shop", "eu-west-1", &wanted, &[])["widgets"].as_array().unwrap().len(), WIDGETS);
    }

    #[test]
    fn the_text_says_whose_dashboard_it_is() {
        let of_shop = body("shop", "eu-west-1", &wanted(false, None), &[]);
        assert!(is_of_app("shop", &of_shop) && !is_of_app("sho", &of_shop) && !is_of_app("shop", &json!({"widgets": []})));
    }
}
