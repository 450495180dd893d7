import sys, time, tempfile
from pathlib import Path
from tests.bench.helpers import go, bits, TABLES, jobs
from lcrbench.bench import worker
T = TABLES | {"recipe": {"batch": 40, "lr": .05, "shards": 4}, "methods":["irnet+lcr"], "metrics": {"accuracy": {}}}
def main():
    out=[]
    for k in (1,2,4):
        t=time.time()
        root=Path(tempfile.mkdtemp())
        (r,)=go(root, T, workers=1, processes=k)
        print(r.status, r.failure, time.time()-t, r.ledger and (r.ledger.processes, r.ledger.seconds))
        out.append(bits(root, r))
    print(out[0]==out[1]==out[2])
if __name__=="__main__":
    main()
