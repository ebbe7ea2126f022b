"""FastAPI with the receiver mounted in it: one process that serves requests, takes callbacks and runs handlers."""

from fastapi import FastAPI, HTTPException

from receiver import Job, Receiver
from receiver.core.errors import NotFoundError

receiver = Receiver()
#: Your database, in truth.
reports: dict[str, str] = {}


@receiver.on("perplexity-webhook")
async def save_report(job: Job) -> None:
    """Keep the report; it is called again if this raises, so it goes by the job's id."""
    if job.result is not None:
        reports[job.id] = job.result.json()["choices"][0]["message"]["content"]


app = FastAPI(lifespan=receiver.lifespan)
# RECEIVER_PUBLIC_URL ends in /hooks, too.
app.mount("/hooks", receiver.asgi)


@app.post("/ask", status_code=202)
async def ask(topic: str) -> dict[str, str]:
    """Submit a question and answer at once."""
    request = {"model": "sonar-deep-research", "messages": [{"role": "user", "content": topic}]}
    job = await receiver.submit("perplexity-webhook", request, metadata={"topic": topic})
    return {"job": job.id}


@app.get("/reports/{job_id}")
async def report(job_id: str) -> dict[str, str]:
    """How a job stands, and its report."""
    try:
        job = await receiver.job(job_id)
    except NotFoundError as error:
        raise HTTPException(404) from error
    return {"state": job.state, "report": reports.get(job_id, "")}
